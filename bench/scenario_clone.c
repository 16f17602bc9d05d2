/* clone.parked: Warm(1) is sent with nothing parked -> its answer: a machine is parked.
 * clone.claimed: a claim is sent with nothing parked -> its answer. */

#include "base/clock.h"
#include "bench/factory_client.h"
#include "bench/sandbox.h"
#include "bench/scenarios.h"

#define WARMUPS 1

static int clone_once(struct bench *bench, uint64_t *ret_parked, uint64_t *ret_claimed,
		      struct error *err)
{
	const char *factory = bench->options.factory;
	struct claim *claim = NULL;

	int r = factory_rest(bench->loop, factory, err);
	if (r < 0)
		return r;
	uint64_t begun = clock_monotonic_ns();
	r = factory_park(bench->loop, factory, 1, err);
	if (r < 0)
		return r;
	*ret_parked = clock_monotonic_ns() - begun;
	r = factory_empty(bench->loop, factory, err);
	if (r < 0)
		return r;
	begun = clock_monotonic_ns();
	r = sandbox_claim(bench, factory, &claim, err);
	if (r < 0)
		return r;
	*ret_claimed = clock_monotonic_ns() - begun;
	return sandbox_release(bench, factory, claim, err);
}

int scenario_clone(struct bench *bench, struct error *err)
{
	struct series *parked = result_series(bench->result, "clone.parked",
					      "clone to parked, nothing else going on");
	struct series *claimed = result_series(bench->result, "clone.claimed",
					       "claim with nothing parked");
	unsigned clones = bench_share(bench, COUNT_CLONES);

	int r = factory_empty(bench->loop, bench->options.factory, err);
	for (unsigned i = 0; r == 0 && i < WARMUPS + clones; i++) {
		uint64_t parked_ns = 0, claimed_ns = 0;

		progress_step(&bench->progress, i, WARMUPS + clones);
		r = clone_once(bench, &parked_ns, &claimed_ns, err);
		if (r < 0 || i < WARMUPS)
			continue;
		series_add(parked, parked_ns);
		series_add(claimed, claimed_ns);
	}
	return r;
}
