/* What a sandbox still takes of the host's memory when what its container had taken is free.
 *
 * density.freed has a row of the MiB that a process of the container took, x; figures are MiB of
 * its VMM that no other process has (Pss has the template's pages in it, which this is not about):
 *
 *   idle        before, when it has run once already and taken next to nothing
 *   used        when the process has just ended
 *   freed       after that no more than SLACK_MIB above idle, or after WAIT_MS whatever it is then
 *   seconds     how long that was */

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/spawn.h"
#include "bench/ctr.h"
#include "bench/factory_client.h"
#include "bench/processes.h"
#include "bench/scenarios.h"

#define SCRATCH "/tmp"

/* Taken: half of what a machine of the shipped template has. The guest reports blocks of 2 MiB and
 * more; some 20 MiB stay in smaller ones. */
enum { TAKEN_MIB = 128, SLACK_MIB = 32, LOOK_MS = 250, WAIT_MS = 30000 };

static int start_container(struct bench *bench, const char *config, const char *id,
			   struct error *err)
{
	_cleanup_(strv_done) struct strv argv = {};
	_cleanup_free_ char *output = NULL;
	int r = factory_warm(bench->loop, bench->options.factory, 1, err);

	if (r < 0)
		return r;
	ctr_run_begin(bench, CTR_KILN, config, "-d", &argv);
	strv_add(&argv, bench->options.image);
	strv_add(&argv, id);
	strv_add(&argv, "sleep");
	strv_add(&argv, "3600");
	return spawn_and_wait(argv.items, &output, err);
}

static int take_and_free(struct bench *bench, const char *id, int mib, struct error *err)
{
	_cleanup_(strv_done) struct strv argv = {};
	_cleanup_free_ char *output = NULL;

	ctr_begin(bench, "tasks", &argv);
	strv_add(&argv, "exec");
	strv_addf(&argv, "--exec-id=take-%d", mib);
	strv_add(&argv, id);
	strv_add(&argv, "dd");
	strv_add(&argv, "if=/dev/zero");
	strv_add(&argv, "of=/dev/null");
	strv_add(&argv, "count=1");
	strv_addf(&argv, "bs=%dM", mib);
	return spawn_and_wait(argv.items, &output, err);
}

static int own_memory(struct bench *bench, double *ret_mib, struct error *err)
{
	struct smaps sum;
	int r = claimed_memory(bench->loop, bench->options.factory, &sum, err);

	if (r == 0)
		*ret_mib = sum.private_;
	return r;
}

/* Nothing tells that the guest has given memory back but the memory itself. */
static int wait_until_freed(struct bench *bench, double enough_mib, double *ret_mib,
			    double *ret_seconds, struct error *err)
{
	uint64_t begin = clock_monotonic_ns(), passed_ms = 0;
	const bool never = false;
	int r;

	while ((r = own_memory(bench, ret_mib, err)) == 0 && *ret_mib > enough_mib &&
	       passed_ms < WAIT_MS) {
		(void)loop_run_until(bench->loop, &never, LOOK_MS);
		passed_ms = (clock_monotonic_ns() - begin) / 1000000;
	}
	*ret_seconds = (double)passed_ms / 1000;
	return r;
}

static int measure(struct bench *bench, const char *id, struct error *err)
{
	double idle = 0, used = 0, freed = 0, seconds = 0;
	int r = take_and_free(bench, id, 1, err); /* what it leaves behind by itself */

	if (r == 0)
		r = own_memory(bench, &idle, err);
	if (r == 0)
		r = take_and_free(bench, id, TAKEN_MIB, err);
	if (r == 0)
		r = own_memory(bench, &used, err);
	if (r == 0)
		r = wait_until_freed(bench, idle + SLACK_MIB, &freed, &seconds, err);
	if (r < 0)
		return r;
	json_t *row = result_add_row(bench->result, "density.freed");
	row_set(row, "x", TAKEN_MIB);
	row_set(row, "idle_mib", idle);
	row_set(row, "used_mib", used);
	row_set(row, "freed_mib", freed);
	row_set(row, "seconds", seconds);
	return 0;
}

static int run(struct bench *bench, const char *config, struct error *err)
{
	_cleanup_(error_done) struct error ignored = {};
	_cleanup_free_ char *id = bench_id(bench);
	int r = start_container(bench, config, id, err);

	if (r < 0)
		return r;
	r = measure(bench, id, err);
	int deleted = ctr_delete(bench, id, r < 0 ? &ignored : err);
	return r < 0 ? r : deleted;
}

int scenario_freed(struct bench *bench, struct error *err)
{
	_cleanup_free_ char *folder = NULL;
	int r = bench_make_folder(SCRATCH, &folder, err);

	if (r < 0)
		return r;
	_cleanup_free_ char *config = path_join(folder, "kiln.json");
	r = ctr_write_config(bench->options.factory, config, err);
	if (r == 0)
		r = run(bench, config, err);
	(void)!path_remove(folder, NULL);
	return r < 0 ? error_wrap(err, "memory that was freed") : 0;
}
