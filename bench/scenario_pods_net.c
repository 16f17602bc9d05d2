/* pods-net.round-trip.WHO, pods-net.transfer.WHO: what the network between two pods of one bridge
 * takes, both of kiln or both of runc, in turn: a byte there and back, a byte at a time; and so
 * many MiB to the other pod, until it says that it has them. bench/work/net.c does both, and
 * measures. */

#include "base/memory.h"
#include "base/spawn.h"
#include "bench/cri.h"
#include "bench/factory_client.h"
#include "bench/scenarios.h"

#define PROGRAM_IN  "kiln-net-work" /* bench/work/net.c, in the image */
#define PORT        "5201"
#define ROUND_TRIPS 200
#define MIB         64u

static const char *const handlers[] = { CRI_KILN, CRI_RUNC };

/* A pod in which one container runs. */
static int start_pod(struct bench *bench, struct cri_pod *pod, char *const *command, char **ret_id,
		     struct error *err)
{
	int r = factory_warm(bench->loop, bench->options.factory, 1, err);

	if (r == 0)
		r = cri_pod_run(pod, err);
	return r < 0 ? r
		     : cri_container_run(pod, "one", bench->options.pods_image, command, ret_id,
					 err);
}

static int ask(struct cri_pod *pod, const char *container, const char *address, const char *what,
	       unsigned amount, size_t times, struct series *series, struct error *err)
{
	_cleanup_free_ char *output = NULL;
	_cleanup_free_ char *number = xasprintf("%u", amount);

	int r = cri_container_exec(
		pod, container, SPAWN_ARGV(PROGRAM_IN, what, address, PORT, number), &output, err);
	return r < 0 ? r : series_add_lines(series, output, 0, times, err);
}

static int measure(struct bench *bench, struct grpc_client *client, const char *handler,
		   struct error *err)
{
	_cleanup_(cri_pod_free_cleanup) struct cri_pod *server = cri_pod_new(bench, client,
									     handler);
	_cleanup_(cri_pod_free_cleanup) struct cri_pod *asker = cri_pod_new(bench, client, handler);
	_cleanup_free_ char *serving = NULL;
	_cleanup_free_ char *asking = NULL;
	_cleanup_free_ char *address = NULL;
	_cleanup_free_ char *trip = xasprintf("pods-net.round-trip.%s", handler);
	_cleanup_free_ char *amount = xasprintf("%u MiB to another pod", MIB);
	_cleanup_free_ char *transfer = xasprintf("pods-net.transfer.%s", handler);

	int r = start_pod(bench, server, SPAWN_ARGV(PROGRAM_IN, "serve", PORT), &serving, err);
	if (r == 0)
		r = start_pod(bench, asker, SPAWN_ARGV("sleep", "600"), &asking, err);
	if (r == 0)
		r = cri_pod_address(server, &address, err);
	if (r == 0)
		r = ask(asker, asking, address, "round-trips", ROUND_TRIPS, ROUND_TRIPS,
			result_series(bench->result, trip, "a byte to another pod and back"), err);
	if (r == 0)
		r = ask(asker, asking, address, "transfer", MIB, 1,
			result_series(bench->result, transfer, amount), err);
	return r;
}

int scenario_pods_net(struct bench *bench, struct error *err)
{
	_cleanup_(grpc_client_free_cleanup) struct grpc_client *client = NULL;

	if (bench->options.counts[COUNT_PODS] == 0)
		return 0;
	int r = cri_connect(bench, &client, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(handlers); i++) {
		progress_step(&bench->progress, (unsigned)i, ARRAY_SIZE(handlers));
		r = measure(bench, client, handlers[(bench->round + i) % ARRAY_SIZE(handlers)],
			    err);
	}
	return r;
}
