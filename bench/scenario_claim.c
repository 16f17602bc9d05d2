/* claim.claim: a claim is sent with machines parked -> its answer with the descriptors.
 * claim.create_sandbox: from there -> CreateSandbox' answer.
 * claim.total: both.
 *
 * Machines are made in batches before, so that nothing else runs while a claim is measured;
 * `sustain` has what it is like when the pool refills meanwhile. */

#include "base/clock.h"
#include "bench/factory_client.h"
#include "bench/sandbox.h"
#include "bench/scenarios.h"

#define WARMUPS 2
#define BATCH   20

struct claim_times {
	uint64_t claim;
	uint64_t total;
};

static int claim_once(struct bench *bench, const char *factory, struct claim_times *ret_times,
		      struct error *err)
{
	_cleanup_(error_done) struct error ignored = {};
	struct claim *claim = NULL;

	uint64_t begun = clock_monotonic_ns();
	int r = sandbox_claim(bench, factory, &claim, err);
	if (r < 0)
		return r;
	ret_times->claim = clock_monotonic_ns() - begun;
	if (str_equal(claim->origin, "pooled"))
		r = sandbox_create(bench, claim->agent, err);
	else
		r = error_set(err, EAGAIN, "a claim was not served from the pool: %s",
			      claim->reason);
	ret_times->total = clock_monotonic_ns() - begun;
	claim_confirm(claim);
	int released = sandbox_release(bench, factory, claim, r < 0 ? &ignored : err);
	return r < 0 ? r : released;
}

static int claim_batch(struct bench *bench, unsigned count, bool counted, struct error *err)
{
	struct series *claim = result_series(bench->result, "claim.claim", "claim from the pool");
	struct series *create = result_series(bench->result, "claim.create_sandbox",
					      "CreateSandbox");
	struct series *total = result_series(bench->result, "claim.total",
					     "claim from the pool + CreateSandbox");

	int r = factory_warm(bench->loop, bench->options.factory, count, err);
	for (unsigned i = 0; r == 0 && i < count; i++) {
		struct claim_times times = {};

		r = claim_once(bench, bench->options.factory, &times, err);
		if (r < 0 || !counted)
			continue;
		series_add(claim, times.claim);
		series_add(create, times.total - times.claim);
		series_add(total, times.total);
	}
	return r;
}

int scenario_claim(struct bench *bench, struct error *err)
{
	unsigned claims = bench_share(bench, COUNT_CLAIMS);

	int r = claim_batch(bench, WARMUPS, false, err);
	for (unsigned done = 0; r == 0 && done < claims; done += BATCH) {
		progress_step(&bench->progress, done, claims);
		r = claim_batch(bench, claims - done < BATCH ? claims - done : BATCH, true, err);
	}
	return r;
}

/* claim.of_one and claim.of_many: claim.claim, of one factory with one machine parked and of
 * another one with many, in turn; so is which of them comes first. */
int scenario_many(struct bench *bench, struct error *err)
{
	unsigned claims = bench->options.counts[COUNT_MANY_CLAIMS];
	struct series *one = result_series(bench->result, "claim.of_one",
					   "claim, one machine parked");
	struct series *many = result_series(bench->result, "claim.of_many",
					    "claim, many machines parked");
	int r = 0;

	for (unsigned i = 0; r == 0 && claims > 0 && i < WARMUPS + claims; i++) {
		struct claim_times of_one = {}, of_many = {};

		progress_step(&bench->progress, i, WARMUPS + claims);
		r = factory_warm(bench->loop, bench->options.factory, 1, err);
		if (r == 0)
			r = factory_warm(bench->loop, bench->options.pool,
					 bench->options.counts[COUNT_PARKED], err);
		for (unsigned turn = i; r == 0 && turn < i + 2; turn++)
			r = turn % 2 ? claim_once(bench, bench->options.pool, &of_many, err)
				     : claim_once(bench, bench->options.factory, &of_one, err);
		if (r < 0 || i < WARMUPS)
			continue;
		series_add(one, of_one.claim);
		series_add(many, of_many.claim);
	}
	if (r < 0 || claims == 0)
		return r;
	r = factory_empty(bench->loop, bench->options.pool, err);
	/* What comes next is not to be measured beside a refill. */
	return r < 0 ? r : factory_init(bench->loop, bench->options.pool, err);
}
