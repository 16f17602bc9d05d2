/* clone.parked: Warm(1) is sent with nothing parked, a spare waits -> its answer: one is parked.
 * clone.whole: Warm(2) is sent at once after that, when there is no spare -> its answer: two are.
 * clone.claimed: a claim is sent with nothing parked, a spare waits -> its answer. */

#include "base/clock.h"
#include "bench/factory_client.h"
#include "bench/sandbox.h"
#include "bench/scenarios.h"

#define WARMUPS 1

struct clone_series {
	struct series *parked, *whole, *claimed;
};

static int park_timed(struct bench *bench, unsigned count, struct series *series, struct error *err)
{
	uint64_t begun = clock_monotonic_ns();
	int r = factory_park(bench->loop, bench->options.factory, count, err);

	if (r == 0 && series)
		series_add(series, clock_monotonic_ns() - begun);
	return r;
}

static int claim_timed(struct bench *bench, struct series *series, struct error *err)
{
	const char *factory = bench->options.factory;
	struct claim *claim = NULL;
	uint64_t begun = clock_monotonic_ns();
	int r = sandbox_claim(bench, factory, &claim, err);

	if (r < 0)
		return r;
	if (series)
		series_add(series, clock_monotonic_ns() - begun);
	return sandbox_release(bench, factory, claim, err);
}

static int clone_once(struct bench *bench, const struct clone_series *series, struct error *err)
{
	const char *factory = bench->options.factory;
	int r = factory_rest(bench->loop, factory, err);

	if (r == 0)
		r = park_timed(bench, 1, series->parked, err);
	if (r == 0)
		r = park_timed(bench, 2, series->whole, err);
	if (r == 0)
		r = factory_empty(bench->loop, factory, err);
	return r < 0 ? r : claim_timed(bench, series->claimed, err);
}

int scenario_clone(struct bench *bench, struct error *err)
{
	const struct clone_series warmup = {};
	const struct clone_series series = {
		.parked = result_series(bench->result, "clone.parked",
					"clone of a spare to parked, nothing else going on"),
		.whole = result_series(bench->result, "clone.whole",
				       "clone to parked, with no spare"),
		.claimed = result_series(bench->result, "clone.claimed",
					 "claim with nothing parked"),
	};
	unsigned clones = bench_share(bench, COUNT_CLONES);
	int r = factory_empty(bench->loop, bench->options.factory, err);

	for (unsigned i = 0; r == 0 && i < WARMUPS + clones; i++) {
		progress_step(&bench->progress, i, WARMUPS + clones);
		r = clone_once(bench, i < WARMUPS ? &warmup : &series, err);
	}
	return r;
}
