/* crun.kiln, crun.crun: CreateContainer and StartContainer of the guest's agent, and what crun
 * takes for the same inside of the same guest, by `crun create` and `crun start` of a container
 * that `crun spec` writes. Both containers have one program, the guest's network, and namespaces of
 * their own for the rest; the agent's also has an overlay for its root and a system call filter.
 *
 * crun, its libraries and its bundle (bench/crun-folder) are copied into the guest's memory, as the
 * agent is there. It is called by bench/work/crun.c in a container that may do what it needs. */

#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "bench/factory_client.h"
#include "bench/sandbox.h"
#include "bench/scenarios.h"
#include "proto/agent.pb-c.h"
#include "proto/pbjson.h"

#define GUEST_FOLDER "/run/kata-containers/crun"
#define CONTAINER_ID "crun"
#define PIECE        (512u << 10) /* a request of the agent's protocol */
#define FILE_MAX     (16u << 20)
#define SPEC_MAX     (64u << 10)
#define OUTPUT_MAX   (64u << 10)
#define WARMUPS      1 /* of each, in each guest */

/* ---------------------------------------------------------------- into the guest */

static int copy_file(struct bench *bench, struct ttrpc_client *agent,
		     Grpc__CopyFileRequest *request, const char *path, struct error *err)
{
	_cleanup_free_ char *data = NULL;
	size_t len;

	int r = file_read(path, FILE_MAX, &data, &len, err);
	request->file_size = (int64_t)len;
	for (size_t at = 0; r == 0 && at < len; at += request->data.len) {
		request->offset = (int64_t)at;
		request->data.data = (uint8_t *)data + at;
		request->data.len = len - at < PIECE ? len - at : PIECE;
		r = sandbox_call(bench, agent, "CopyFile", &request->base, err);
	}
	return r;
}

static int copy_entry(struct bench *bench, struct ttrpc_client *agent, const FTSENT *entry,
		      const char *to, struct error *err)
{
	Grpc__CopyFileRequest request = GRPC__COPY_FILE_REQUEST__INIT;

	request.path = (char *)to;
	request.dir_mode = 0755;
	switch (entry->fts_info) {
	case FTS_F:
		request.file_mode = entry->fts_statp->st_mode;
		return copy_file(bench, agent, &request, entry->fts_accpath, err);
	case FTS_D:
		request.file_mode = entry->fts_statp->st_mode;
		return sandbox_call(bench, agent, "CopyFile", &request.base, err);
	case FTS_DP:
		return 0;
	default:
		return error_set(err, EINVAL, "%s is no file and no folder that can be read",
				 entry->fts_path);
	}
}

/* The folder's tree, as GUEST_FOLDER. */
static int copy_in(struct bench *bench, struct ttrpc_client *agent, const char *folder,
		   struct error *err)
{
	FTS *walk = fts_open((char *const[]){ (char *)folder, NULL }, FTS_PHYSICAL | FTS_NOCHDIR,
			     NULL);
	FTSENT *entry;
	int r = walk ? 0 : error_set_errno(err, -errno, "cannot read %s", folder);

	while (r == 0 && (entry = fts_read(walk))) {
		_cleanup_free_ char *to = xasprintf(GUEST_FOLDER "%s",
						    entry->fts_path + strlen(folder));
		r = copy_entry(bench, agent, entry, to, err);
	}
	if (walk)
		fts_close(walk);
	return r;
}

/* ---------------------------------------------------------------- by crun */

/* The container in which crun is called so many times. */
static int read_spec(const char *folder, unsigned times, Grpc__Spec **ret_spec, struct error *err)
{
	_cleanup_free_ char *path = path_join(folder, "spec.json");
	_cleanup_free_ char *text = NULL;
	ProtobufCMessage *message = NULL;
	json_t *json = NULL;
	size_t len;

	int r = file_read(path, SPEC_MAX, &text, &len, err);
	if (r == 0)
		r = pbjson_parse(text, len, &json, err);
	if (r == 0)
		r = pbjson_to_message(&grpc__spec__descriptor, json, 0, &message, err);
	json_decref(json);
	if (r < 0)
		return error_wrap(err, "%s", path);
	*ret_spec = (Grpc__Spec *)message;
	Grpc__Process *process = (*ret_spec)->process;
	if (!process || process->n_args == 0)
		return error_set(err, EBADMSG, "%s has no program", path);
	char **last = &process->args[process->n_args - 1];
	free(*last);
	*last = xasprintf("%u", times);
	return 0;
}

static int start_crun(struct bench *bench, struct ttrpc_client *agent, Grpc__Spec *spec,
		      struct error *err)
{
	Grpc__CreateContainerRequest create = GRPC__CREATE_CONTAINER_REQUEST__INIT;
	Grpc__StartContainerRequest start = GRPC__START_CONTAINER_REQUEST__INIT;

	create.container_id = (char *)CONTAINER_ID;
	create.oci = spec;
	start.container_id = (char *)CONTAINER_ID;
	int r = sandbox_call(bench, agent, "CreateContainer", &create.base, err);
	return r < 0 ? r : sandbox_call(bench, agent, "StartContainer", &start.base, err);
}

/* What it said is why there are fewer times than there should be. */
static int read_times(struct bench *bench, struct ttrpc_client *agent, struct series *series,
		      unsigned times, struct error *err)
{
	_cleanup_free_ char *output = NULL;
	_cleanup_free_ char *said = NULL;

	int r = sandbox_read_all(bench, agent, CONTAINER_ID, "ReadStdout", OUTPUT_MAX, &output,
				 err);
	if (r == 0)
		r = sandbox_read_all(bench, agent, CONTAINER_ID, "ReadStderr", OUTPUT_MAX, &said,
				     err);
	if (r == 0 && *said)
		r = error_set(err, EIO, "%s", said);
	return r < 0 ? r : series_add_lines(series, output, WARMUPS, WARMUPS + times, err);
}

static int measure_crun(struct bench *bench, struct ttrpc_client *agent, unsigned times,
			struct error *err)
{
	struct series *series = result_series(bench->result, "crun.crun",
					      "crun create and crun start, in the guest");
	Grpc__Spec *spec = NULL;

	int r = read_spec(bench->options.crun, WARMUPS + times, &spec, err);
	if (r == 0)
		r = start_crun(bench, agent, spec, err);
	if (r == 0)
		r = read_times(bench, agent, series, times, err);
	if (spec)
		grpc__spec__free_unpacked(spec, NULL);
	return r < 0 ? error_wrap(err, "crun in the guest") : 0;
}

/* ---------------------------------------------------------------- by the agent */

static int measure_agent(struct bench *bench, struct ttrpc_client *agent, unsigned times,
			 struct error *err)
{
	struct series *series = result_series(bench->result, "crun.kiln",
					      "CreateContainer and StartContainer, in the guest");
	int r = 0;

	for (unsigned i = 0; r == 0 && i < WARMUPS + times; i++) {
		uint64_t begun = clock_monotonic_ns();
		r = sandbox_start_container(bench, agent, err);
		if (r == 0 && i >= WARMUPS)
			series_add(series, clock_monotonic_ns() - begun);
		if (r == 0)
			r = sandbox_remove_container(bench, agent, err);
	}
	return r;
}

/* ---------------------------------------------------------------- the scenario */

/* Who is first changes from round to round. */
static int measure(struct bench *bench, struct ttrpc_client *agent, unsigned times,
		   struct error *err)
{
	int (*const by[])(struct bench *, struct ttrpc_client *, unsigned,
			  struct error *) = { measure_agent, measure_crun };
	int r = sandbox_create(bench, agent, err);

	if (r == 0)
		r = copy_in(bench, agent, bench->options.crun, err);
	for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(by); i++) {
		progress_step(&bench->progress, i, ARRAY_SIZE(by));
		r = by[(bench->round + i) % ARRAY_SIZE(by)](bench, agent, times, err);
	}
	return r;
}

int scenario_crun(struct bench *bench, struct error *err)
{
	const char *factory = bench->options.factory;
	unsigned times = bench_share(bench, COUNT_CRUNS);
	_cleanup_(error_done) struct error ignored = {};
	struct claim *claim = NULL;

	if (times == 0)
		return 0;
	int r = factory_warm(bench->loop, factory, 1, err);
	if (r == 0)
		r = sandbox_claim(bench, factory, &claim, err);
	if (r < 0)
		return r;
	r = measure(bench, claim->agent, times, err);
	claim_confirm(claim);
	int released = sandbox_release(bench, factory, claim, r < 0 ? &ignored : err);
	return r < 0 ? r : released;
}
