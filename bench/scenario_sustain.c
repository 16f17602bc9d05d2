/* sustain.RATE: a claim is due (Poisson arrivals, whether earlier ones are answered or not) ->
 * CreateSandbox is answered. The pool refills meanwhile.
 *
 * The rates are multiples of what the machine can clone, measured just before: below it the pool
 * holds out, above it claims wait for clones. So the rates fit the machine, and the plot of
 * latency against hit ratio has points on both sides. The table has for each rate: arrivals,
 * hit_ratio (claims served from the pool), failed, refill_per_s (machines parked or cloned), p50
 * and p99. */

#include "base/clock.h"
#include "base/memory.h"
#include "bench/arrivals.h"
#include "bench/factory_client.h"
#include "bench/scenarios.h"

#define HOLD_MS     500
#define RATE_CLONES 6 /* for the capacity */
#define SEED        4

/* Of the capacity. */
static const double loads[] = { 0.5, 1, 1.5, 2, 3 };

/* Machines made since the factory's start. */
static int clones_made(struct bench *bench, uint64_t *ret_made, struct error *err)
{
	_cleanup_(status_response_free_cleanup) Kiln__Factory__V1__StatusResponse *status = NULL;

	int r = factory_status(bench->loop, bench->options.pool, &status, err);
	*ret_made = 0;
	for (size_t i = 0; r == 0 && i < status->n_counters; i++) {
		if (str_equal(status->counters[i]->name, "clones_parked"))
			*ret_made += status->counters[i]->value;
	}
	return r;
}

/* Of whole clones: the spare, which was made before, is used up first. */
static int measure_capacity(struct bench *bench, double *ret_per_s, struct error *err)
{
	int r = factory_empty(bench->loop, bench->options.factory, err);

	if (r == 0)
		r = factory_park(bench->loop, bench->options.factory, 1, err);
	uint64_t begun = clock_monotonic_ns();
	if (r == 0)
		r = factory_park(bench->loop, bench->options.factory, 1 + RATE_CLONES, err);
	*ret_per_s = RATE_CLONES * 1e9 / (double)(clock_monotonic_ns() - begun);
	return r < 0 ? r : factory_empty(bench->loop, bench->options.factory, err);
}

static void add_row(struct bench *bench, const struct arrivals_options *run, double load,
		    double per_s, double refill)
{
	_cleanup_free_ char *name = xasprintf("sustain.%g", load);
	_cleanup_free_ char *what = xasprintf("arrivals at %g of the rate of cloning", load);
	struct series *series = result_series(bench->result, name, what);
	json_t *row = result_add_row(bench->result, "sustain");
	unsigned hits = 0, failed = 0;

	for (size_t i = 0; i < run->count; i++) {
		failed += run->arrivals[i].failed;
		if (run->arrivals[i].failed)
			continue;
		hits += run->arrivals[i].pooled;
		series_add(series, run->arrivals[i].latency_ns);
	}
	row_set(row, "x", load);
	row_set(row, "per_s", per_s);
	row_set(row, "arrivals", (double)run->count);
	row_set(row, "failed", failed);
	row_set(row, "hit_ratio", run->count > 0 ? hits / (double)run->count : 0);
	row_set(row, "refill_per_s", refill);
	row_set(row, "p50_ms", series_quantile(series, 0.5));
	row_set(row, "p99_ms", series_quantile(series, 0.99));
}

static int sustain_rate(struct bench *bench, struct rng *rng, double load, double per_s,
			struct error *err)
{
	unsigned seconds = bench->options.counts[COUNT_SUSTAIN_SECONDS];
	_cleanup_free_ struct arrival *arrivals = NULL;
	size_t count = arrivals_poisson(rng, per_s, seconds, &arrivals);
	struct arrivals_options run = {
		.address = bench->options.pool,
		.hold_ms = HOLD_MS,
		.arrivals = arrivals,
		.count = count,
	};
	uint64_t before, after;

	int r = factory_init(bench->loop, bench->options.pool, err);
	if (r == 0)
		r = clones_made(bench, &before, err);
	uint64_t begun = clock_monotonic_ns();
	if (r == 0)
		r = arrivals_run(bench, &run, err);
	double took = (double)(clock_monotonic_ns() - begun) / 1e9;
	if (r == 0)
		r = clones_made(bench, &after, err);
	if (r == 0)
		add_row(bench, &run, load, per_s, (double)(after - before) / took);
	return r;
}

int scenario_sustain(struct bench *bench, struct error *err)
{
	struct rng rng = { .state = SEED };
	double capacity = 0;

	if (bench->options.counts[COUNT_SUSTAIN_SECONDS] == 0)
		return 0;
	int r = measure_capacity(bench, &capacity, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(loads); i++)
		r = sustain_rate(bench, &rng, loads[i], loads[i] * capacity, err);
	return r < 0 ? r : factory_init(bench->loop, bench->options.pool, err);
}
