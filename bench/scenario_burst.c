/* burst.latency: N claims are due at one moment, M machines parked -> each one's CreateSandbox is
 * answered. Its table has the latency of the first M (served from the pool) and of the others,
 * which wait for clones. */

#include "base/memory.h"
#include "bench/arrivals.h"
#include "bench/factory_client.h"
#include "bench/scenarios.h"

static int burst_once(struct bench *bench, struct arrival *arrivals, struct error *err)
{
	const struct bench_options *options = &bench->options;
	struct arrivals_options burst = {
		.address = options->factory,
		.hold_ms = 1,
		.arrivals = arrivals,
		.count = options->counts[COUNT_BURST],
	};

	int r = factory_empty(bench->loop, options->factory, err);
	if (r == 0)
		r = factory_warm(bench->loop, options->factory, options->counts[COUNT_BURST_POOL],
				 err);
	return r < 0 ? r : arrivals_run(bench, &burst, err);
}

int scenario_burst(struct bench *bench, struct error *err)
{
	struct series *all = result_series(bench->result, "burst.latency",
					   "many claims at once, from the pool and beyond it");
	struct series *hits = result_series(bench->result, "burst.pooled",
					    "of these, the ones the pool served");
	unsigned count = bench->options.counts[COUNT_BURST];

	for (unsigned i = 0; i < bench_share(bench, COUNT_BURSTS); i++) {
		_cleanup_free_ struct arrival *arrivals = xnew_array(struct arrival, count);
		int r = burst_once(bench, arrivals, err);
		if (r < 0)
			return r;
		for (unsigned j = 0; j < count; j++) {
			if (arrivals[j].failed)
				return error_set(err, EIO, "a claim of a burst failed");
			series_add(all, arrivals[j].latency_ns);
			if (arrivals[j].pooled)
				series_add(hits, arrivals[j].latency_ns);
		}
	}
	return 0;
}
