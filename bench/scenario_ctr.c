/* ctr.kiln, ctr.runc, ctr.empty: `ctr run --rm … true` is started -> it has ended. The three take
 * turns on one containerd; the order of the turn changes, so that none is always behind the same
 * other one. `empty` is the shim that does nothing (bench/empty_shim.h): what containerd and ctr
 * take, whoever the runtime is. A machine is parked before Kiln's turn, and none is made while
 * any of them runs.
 *
 * memory.*_shim_private_mib: private pages of the shim's process while its container runs. */

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/spawn.h"
#include "base/strings.h"
#include "bench/ctr.h"
#include "bench/empty_shim.h"
#include "bench/factory_client.h"
#include "bench/processes.h"
#include "bench/scenarios.h"
#include "bench/smaps.h"

#define WARMUPS 1
#define SCRATCH "/tmp"

struct contestant {
	const char *runtime;
	const char *config; /* file for the shim; NULL: none */
	struct series *series;
};

/* ---------------------------------------------------------------- ctr */

/* ctr run HOW --runtime … IMAGE ID; the command is the caller's to add. */
static void ctr_run_image(const struct bench *bench, const struct contestant *contestant,
			  const char *how, const char *id, struct strv *argv)
{
	ctr_run_begin(bench, contestant->runtime, contestant->config, how, argv);
	strv_add(argv, bench->options.image);
	strv_add(argv, id);
}

static int ctr_run(struct bench *bench, const struct contestant *contestant, bool counted,
		   struct error *err)
{
	_cleanup_(strv_done) struct strv argv = {};
	_cleanup_free_ char *output = NULL;
	_cleanup_free_ char *id = bench_id(bench);

	ctr_run_image(bench, contestant, "--rm", id, &argv);
	strv_add(&argv, "true");

	uint64_t begun = clock_monotonic_ns();
	int r = spawn_and_wait(argv.items, &output, err);
	if (r < 0)
		return error_wrap(err, "ctr run with %s", contestant->runtime);
	if (counted)
		series_add(contestant->series, clock_monotonic_ns() - begun);
	return 0;
}

static int take_turns(struct bench *bench, const struct contestant *contestants, size_t count,
		      struct error *err)
{
	unsigned runs = bench_share(bench, COUNT_CTRS);
	int r = 0;

	for (unsigned i = 0; r == 0 && i < WARMUPS + runs; i++) {
		progress_step(&bench->progress, i, WARMUPS + runs);
		for (size_t j = 0; r == 0 && j < count; j++) {
			r = factory_warm(bench->loop, bench->options.factory, 1, err);
			if (r == 0)
				r = ctr_run(bench, &contestants[(i + j) % count], i >= WARMUPS,
					    err);
		}
	}
	return r;
}

/* ---------------------------------------------------------------- memory of a shim */

static int ctr_detached(struct bench *bench, const struct contestant *contestant, const char *id,
			struct error *err)
{
	_cleanup_(strv_done) struct strv argv = {};
	_cleanup_free_ char *output = NULL;

	ctr_run_image(bench, contestant, "-d", id, &argv);
	strv_add(&argv, "sleep");
	strv_add(&argv, "600");
	return spawn_and_wait(argv.items, &output, err);
}

static int shim_memory(struct bench *bench, const struct contestant *contestant,
		       const char *program, const char *value, struct error *err)
{
	_cleanup_(error_done) struct error ignored = {};
	_cleanup_free_ char *id = bench_id(bench);
	struct smaps smaps = {};
	pid_t pid;

	int r = factory_warm(bench->loop, bench->options.factory, 1, err);
	if (r == 0)
		r = ctr_detached(bench, contestant, id, err);
	if (r < 0)
		return r;
	r = shim_find(program, id, &pid, err);
	if (r == 0)
		r = smaps_read(pid, NULL, NULL, &smaps, err);
	if (r == 0)
		result_set(bench->result, value, smaps.private_);
	int deleted = ctr_delete(bench, id, r < 0 ? &ignored : err);
	return r < 0 ? r : deleted;
}

/* ---------------------------------------------------------------- the scenario */

/* containerd takes the path of a shim for a runtime. */
static int link_self(const char *path, struct error *err)
{
	_cleanup_free_ char *self = realpath("/proc/self/exe", NULL);

	if (!self || symlink(self, path) < 0)
		return error_set_errno(err, errno, "cannot link %s", path);
	return 0;
}

static int contest(struct bench *bench, const char *empty, const char *config, struct error *err)
{
	const struct contestant contestants[] = {
		{ CTR_KILN, config,
		  result_series(bench->result, "ctr.kiln", "ctr run --rm, kiln") },
		{ CTR_RUNC, NULL,
		  result_series(bench->result, "ctr.runc", "ctr run --rm, runc, same containerd") },
		{ empty, NULL,
		  result_series(bench->result, "ctr.empty",
				"ctr run --rm, a shim that does nothing") },
	};

	int r = take_turns(bench, contestants, ARRAY_SIZE(contestants), err);
	if (r < 0 || bench->round > 0)
		return r;
	r = shim_memory(bench, &contestants[0], "containerd-shim-kiln-v2",
			"memory.shim_private_mib", err);
	return r < 0 ? r
		     : shim_memory(bench, &contestants[1], "containerd-shim-runc-v2",
				   "memory.runc_shim_private_mib", err);
}

int scenario_ctr(struct bench *bench, struct error *err)
{
	_cleanup_free_ char *folder = NULL;

	if (bench->options.counts[COUNT_CTRS] == 0)
		return 0;
	int r = bench_make_folder(SCRATCH, &folder, err);
	if (r < 0)
		return r;
	_cleanup_free_ char *empty = path_join(folder, EMPTY_SHIM);
	_cleanup_free_ char *config = path_join(folder, "kiln.json");
	r = link_self(empty, err);
	if (r == 0)
		r = ctr_write_config(bench->options.factory, config, err);
	if (r == 0)
		r = contest(bench, empty, config, err);
	(void)!path_remove(folder, NULL);
	return r;
}
