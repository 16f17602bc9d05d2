#include "factory/base/metrics.h"

#include "base/clock.h"
#include "base/memory.h"

const uint64_t metrics_bucket_us[METRICS_BUCKETS] = {
	500,     750,     1000,     1500,     2000,     3000,     5000,     7500,
	10000,   15000,   20000,    30000,    50000,    75000,    100000,   150000,
	200000,  300000,  500000,   750000,   1000000,  1500000,  2000000,  3000000,
	5000000, 7500000, 10000000, 15000000, 20000000, 30000000, 60000000,
};

static const struct {
	const char *name;
	struct counter_family family;
} counters[] = {
#define CLAIMS "kiln_claims_total", "Claims answered, by how they were served and why so"
	[COUNTER_CLAIMS_POOLED] = { "claims_pooled", { CLAIMS, "pooled" } },
	[COUNTER_CLAIMS_CLONED] = { "claims_cloned", { CLAIMS, "cloned" } },
	[COUNTER_CLAIMS_BOOTED] = { "claims_booted", { CLAIMS, "booted" } },
	[COUNTER_CLAIMS_FAILED] = { "claims_failed", { CLAIMS, "failed" } },
#undef CLAIMS
	[COUNTER_CLAIMS_GROWN] = { "claims_grown",
				   { "kiln_claims_grown_total",
				     "Claims whose machine had to grow to the size they wanted",
				     NULL } },
	[COUNTER_CLAIMS_TAKEN_BACK] = { "claims_taken_back",
					{ "kiln_claims_taken_back_total",
					  "Claimed machines whose claimer went away before it confirmed",
					  NULL } },
	[COUNTER_RELEASES] = { "releases",
			       { "kiln_releases_total", "Machines released by their claimer",
				 NULL } },
#define CLONES "kiln_clones_total", "Machines made from the template, by what became of them"
	[COUNTER_CLONES_PARKED] = { "clones_parked", { CLONES, "parked" } },
	[COUNTER_CLONES_FAILED] = { "clones_failed", { CLONES, "failed" } },
#undef CLONES
	[COUNTER_PARKED_LOST] = { "parked_lost",
				  { "kiln_parked_lost_total",
				    "Parked machines that ended by themselves", NULL } },
	[COUNTER_PARKED_ENDED] = { "parked_ended",
				   { "kiln_parked_ended_total",
				     "Parked machines given up by the pool, by why", NULL } },
	[COUNTER_REFILLS_HELD] = { "refills_held",
				   { "kiln_refills_held_total",
				     "Times the host had no room for more machines, by why",
				     NULL } },
	[COUNTER_SANDBOXES_ENDED] = { "sandboxes_ended",
				      { "kiln_sandboxes_ended_total",
					"Claimed machines that ended without a release", NULL } },
	[COUNTER_ADOPTED] = { "adopted",
			      { "kiln_adopted_total",
				"Machines taken up from an earlier factory, by their state",
				NULL } },
#define BAKES "kiln_bakes_total", "Bakes ended; reason: the phase that failed"
	[COUNTER_BAKES] = { "bakes", { BAKES, "done" } },
	[COUNTER_BAKES_FAILED] = { "bakes_failed", { BAKES, "failed" } },
#undef BAKES
#define IMAGES "kiln_image_makes_total", "Images of containers' layers, by what became of them"
	[COUNTER_IMAGES_MADE] = { "images_made", { IMAGES, "made", true } },
	[COUNTER_IMAGES_FAILED] = { "images_failed", { IMAGES, "failed", true } },
#undef IMAGES
#define SPANS "kiln_trace_spans_total", "Spans for the collector, by what became of them and why"
	[COUNTER_TRACE_SENT] = { "trace_sent", { SPANS, "sent", true } },
	[COUNTER_TRACE_LOST] = { "trace_lost", { SPANS, "lost", true } },
#undef SPANS
};
_Static_assert(ARRAY_SIZE(counters) == COUNTER_MAX_, "every counter has a row");

const char *counter_to_string(enum counter counter)
{
	return (unsigned)counter < COUNTER_MAX_ ? counters[counter].name : "invalid";
}

int counter_from_string(const char *text)
{
	for (int i = 0; i < COUNTER_MAX_; i++) {
		if (str_equal(counters[i].name, text))
			return i;
	}
	return -EINVAL;
}

const struct counter_family *counter_family(enum counter counter)
{
	return &counters[counter].family;
}

static const char *const histogram_names[] = {
	[HISTOGRAM_CLAIM_POOLED] = "claim_pooled",
	[HISTOGRAM_CLAIM_CLONED] = "claim_cloned",
	[HISTOGRAM_CLAIM_BOOTED] = "claim_booted",
	[HISTOGRAM_CLONE] = "clone",
	[HISTOGRAM_WARM] = "warm",
	[HISTOGRAM_BAKE] = "bake",
	[HISTOGRAM_IMAGE_MAKE] = "image_make",
};
DEFINE_STRING_TABLE(histogram, enum histogram, histogram_names)

/* ---------------------------------------------------------------- counters */

static struct count *count_find(struct metrics *metrics, enum counter counter, const char *reason)
{
	for (size_t i = 0; i < metrics->used; i++) {
		struct count *count = &metrics->counts[i];
		if (count->counter == counter && str_equal(count->reason, reason))
			return count;
	}
	return NULL;
}

static void count_add(struct metrics *metrics, enum counter counter, const char *reason,
		      uint64_t value)
{
	/* The last places are kept for each counter's "other". */
	const size_t room = METRICS_COUNTS_MAX - COUNTER_MAX_;
	struct count *count = count_find(metrics, counter, reason);

	if (!count && metrics->used >= room) {
		reason = "other";
		count = count_find(metrics, counter, reason);
	}
	if (!count) {
		count = &metrics->counts[metrics->used++];
		*count = (struct count){ .counter = counter, .reason = xstrdup(reason) };
	}
	count->value += value;
}

void metrics_count(struct metrics *metrics, enum counter counter, const char *reason)
{
	count_add(metrics, counter, reason, 1);
}

uint64_t metrics_sum(const struct metrics *metrics, enum counter counter)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < metrics->used; i++) {
		if (metrics->counts[i].counter == counter)
			sum += metrics->counts[i].value;
	}
	return sum;
}

/* ---------------------------------------------------------------- histograms */

void metrics_observe(struct metrics *metrics, enum histogram histogram, uint64_t ns)
{
	struct latency *latency = &metrics->latencies[histogram];
	size_t i = 0;

	while (i < METRICS_BUCKETS && ns > metrics_bucket_us[i] * 1000)
		i++;
	latency->buckets[i]++;
	latency->count++;
	latency->sum_ns += ns;
	if (ns > latency->max_ns)
		latency->max_ns = ns;
}

void metrics_observe_since(struct metrics *metrics, enum histogram histogram, uint64_t begun_ns)
{
	metrics_observe(metrics, histogram, clock_monotonic_ns() - begun_ns);
}

void latency_merge(struct latency *latency, const struct latency *from)
{
	for (size_t i = 0; i < ARRAY_SIZE(latency->buckets); i++)
		latency->buckets[i] += from->buckets[i];
	latency->count += from->count;
	latency->sum_ns += from->sum_ns;
	if (from->max_ns > latency->max_ns)
		latency->max_ns = from->max_ns;
}

uint64_t latency_quantile_us(const struct latency *latency, double quantile)
{
	double rank = quantile * (double)latency->count, below = 0;
	double max_us = (double)latency->max_ns / 1000;
	size_t i = 0;

	if (latency->count == 0)
		return 0;
	while (i < METRICS_BUCKETS && below + (double)latency->buckets[i] < rank)
		below += (double)latency->buckets[i++];
	/* Nothing lies beyond the greatest value seen. */
	double low = i > 0 ? (double)metrics_bucket_us[i - 1] : 0;
	double high = i < METRICS_BUCKETS ? (double)metrics_bucket_us[i] : max_us;
	if (high > max_us)
		high = max_us;
	if (high < low || latency->buckets[i] == 0)
		return (uint64_t)high;
	return (uint64_t)(low + (high - low) * (rank - below) / (double)latency->buckets[i]);
}

/* ---------------------------------------------------------------- the whole */

void metrics_merge(struct metrics *metrics, const struct metrics *from)
{
	for (size_t i = 0; i < from->used; i++) {
		const struct count *count = &from->counts[i];
		count_add(metrics, count->counter, count->reason, count->value);
	}
	for (size_t i = 0; i < HISTOGRAM_MAX_; i++)
		latency_merge(&metrics->latencies[i], &from->latencies[i]);
}

void metrics_done(struct metrics *metrics)
{
	for (size_t i = 0; i < metrics->used; i++)
		free(metrics->counts[i].reason);
	metrics->used = 0;
}
