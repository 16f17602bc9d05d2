/* pods.STEP.kiln, pods.STEP.runc: the calls that a kubelet makes in a pod's life, one pod of either
 * at a time, in turn on one containerd and one bridge of CNI's. A call is sent -> it is answered;
 * the calls are a table below. pods.life is the first call sent -> the last one answered. A machine
 * is parked before Kiln's turn, and none is made while any of them runs.
 *
 * memory.pod_kiln_mib, memory.pod_runc_mib: Pss of all processes that a pod with three containers
 * takes: shim and VMM; shim, pause and what runs in the containers. */

#include "base/clock.h"
#include "base/memory.h"
#include "base/spawn.h"
#include "bench/cri.h"
#include "bench/factory_client.h"
#include "bench/processes.h"
#include "bench/scenarios.h"

#define WARMUPS           1
#define MEMORY_CONTAINERS 3

static const struct contestant {
	const char *handler;
	const char *shim;
} contestants[] = {
	{ CRI_KILN, "containerd-shim-kiln-v2" },
	{ CRI_RUNC, "containerd-shim-runc-v2" },
};

/* ---------------------------------------------------------------- a life */

struct life {
	const struct bench *bench;
	struct cri_pod *pod;
	char *container; /* id */
};

static void life_done(struct life *life)
{
	cri_pod_free(life->pod);
	free(life->container);
}

static int run_pod(struct life *life, struct error *err)
{
	return cri_pod_run(life->pod, err);
}

static int create_container(struct life *life, struct error *err)
{
	return cri_container_create(life->pod, "one", life->bench->options.pods_image,
				    SPAWN_ARGV("sleep", "600"), &life->container, err);
}

static int start_container(struct life *life, struct error *err)
{
	return cri_container_start(life->pod, life->container, err);
}

static int exec_true(struct life *life, struct error *err)
{
	return cri_container_exec(life->pod, life->container, SPAWN_ARGV("true"), NULL, err);
}

static int stop_pod(struct life *life, struct error *err)
{
	return cri_pod_stop(life->pod, err);
}

static int remove_pod(struct life *life, struct error *err)
{
	return cri_pod_remove(life->pod, err);
}

static const struct step {
	const char *name;
	const char *what;
	int (*take)(struct life *life, struct error *err);
} steps[] = {
	{ "run", "RunPodSandbox", run_pod },
	{ "create", "CreateContainer", create_container },
	{ "start", "StartContainer", start_container },
	{ "exec-first", "ExecSync of true, the container's first", exec_true },
	{ "exec", "ExecSync of true, its second", exec_true },
	{ "stop", "StopPodSandbox", stop_pod },
	{ "remove", "RemovePodSandbox", remove_pod },
};

static void add_time(struct bench *bench, const char *step, const char *call, const char *handler,
		     uint64_t ns)
{
	_cleanup_free_ char *name = xasprintf("pods.%s.%s", step, handler);
	_cleanup_free_ char *what = xasprintf("%s, %s", call, handler);

	series_add(result_series(bench->result, name, what), ns);
}

static int live(struct bench *bench, struct grpc_client *client, const char *handler, bool counted,
		struct error *err)
{
	_cleanup_(life_done) struct life life = { .bench = bench,
						  .pod = cri_pod_new(bench, client, handler) };
	uint64_t ended[ARRAY_SIZE(steps)];
	uint64_t begun = clock_monotonic_ns();

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		int r = steps[i].take(&life, err);
		if (r < 0)
			return r;
		ended[i] = clock_monotonic_ns();
	}
	if (!counted)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
		add_time(bench, steps[i].name, steps[i].what, handler,
			 ended[i] - (i > 0 ? ended[i - 1] : begun));
	add_time(bench, "life", "a pod's whole life", handler,
		 ended[ARRAY_SIZE(steps) - 1] - begun);
	return 0;
}

static int take_turns(struct bench *bench, struct grpc_client *client, struct error *err)
{
	unsigned lives = WARMUPS + bench_share(bench, COUNT_PODS);
	int r = 0;

	for (unsigned i = 0; r == 0 && i < lives; i++) {
		progress_step(&bench->progress, i, lives);
		for (size_t j = 0; r == 0 && j < ARRAY_SIZE(contestants); j++) {
			r = factory_warm(bench->loop, bench->options.factory, 1, err);
			if (r == 0)
				r = live(bench, client,
					 contestants[(i + j) % ARRAY_SIZE(contestants)].handler,
					 i >= WARMUPS, err);
		}
	}
	return r;
}

/* ---------------------------------------------------------------- memory */

static int fill_pod(const struct bench *bench, struct cri_pod *pod, struct error *err)
{
	int r = cri_pod_run(pod, err);

	for (unsigned i = 0; r == 0 && i < MEMORY_CONTAINERS; i++) {
		_cleanup_free_ char *name = xasprintf("container-%u", i);
		_cleanup_free_ char *id = NULL;
		r = cri_container_run(pod, name, bench->options.pods_image,
				      SPAWN_ARGV("sleep", "600"), &id, err);
	}
	return r;
}

static int pod_memory(struct bench *bench, struct grpc_client *client,
		      const struct contestant *contestant, struct error *err)
{
	_cleanup_free_ char *value = xasprintf("memory.pod_%s_mib", contestant->handler);
	_cleanup_(cri_pod_free_cleanup) struct cri_pod *pod = NULL;
	struct smaps processes, machines;
	pid_t shim;

	int r = factory_warm(bench->loop, bench->options.factory, 1, err);
	if (r < 0)
		return r;
	pod = cri_pod_new(bench, client, contestant->handler);
	r = fill_pod(bench, pod, err);
	if (r == 0)
		r = shim_find(contestant->shim, cri_pod_id(pod), &shim, err);
	if (r == 0)
		r = tree_memory(shim, &processes, err);
	if (r == 0)
		r = claimed_memory(bench->loop, bench->options.factory, &machines, err);
	if (r == 0)
		result_set(bench->result, value, processes.pss + machines.pss);
	return r;
}

/* ---------------------------------------------------------------- the scenario */

int scenario_pods(struct bench *bench, struct error *err)
{
	_cleanup_(grpc_client_free_cleanup) struct grpc_client *client = NULL;

	if (bench->options.counts[COUNT_PODS] == 0)
		return 0;
	int r = cri_connect(bench, &client, err);
	if (r == 0)
		r = take_turns(bench, client, err);
	for (size_t i = 0; r == 0 && bench->round == 0 && i < ARRAY_SIZE(contestants); i++)
		r = pod_memory(bench, client, &contestants[i], err);
	return r;
}
