/* What is counted and timed, by template, for `status` and for whoever watches the factory.
 *
 * Counters have names and reasons. Reasons are short, from our own code, and bounded in number:
 * what does not fit any more is counted under "other". Histograms have fixed buckets from 0.5 ms
 * to 60 s. Both begin with the factory. Every slot has a set of its own; the factory has one for
 * what concerns no template. A new counter is one row in metrics.c. factory/api/metrics_text.h
 * writes them for Prometheus.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strings.h"

enum counter {
	COUNTER_CLAIMS_POOLED,
	COUNTER_CLAIMS_CLONED,
	COUNTER_CLAIMS_BOOTED,
	COUNTER_CLAIMS_FAILED,
	COUNTER_CLAIMS_GROWN,
	COUNTER_CLAIMS_TAKEN_BACK,
	COUNTER_RELEASES,
	COUNTER_CLONES_PARKED,
	COUNTER_CLONES_FAILED,
	COUNTER_PARKED_LOST,
	COUNTER_PARKED_ENDED,
	COUNTER_REFILLS_HELD,
	COUNTER_SANDBOXES_ENDED,
	COUNTER_ADOPTED,
	COUNTER_BAKES,
	COUNTER_BAKES_FAILED,
	COUNTER_IMAGES_MADE, /* of the factory, no template's; so the next one */
	COUNTER_IMAGES_FAILED,
	COUNTER_TRACE_SENT, /* ditto */
	COUNTER_TRACE_LOST,
	COUNTER_MAX_,
};
DECLARE_STRING_TABLE(counter, enum counter); /* as in Status: "claims_pooled", ... */

/* What a counter is for Prometheus: counters of one family differ in their result. */
struct counter_family {
	const char *name; /* "kiln_claims_total" */
	const char *help;
	const char *result; /* NULL: the family has no label `result` */
	bool of_factory;    /* no template has any */
};
const struct counter_family *counter_family(enum counter counter);

enum histogram {
	HISTOGRAM_CLAIM_POOLED, /* request to reply, of claims that got a machine */
	HISTOGRAM_CLAIM_CLONED,
	HISTOGRAM_CLAIM_BOOTED,
	HISTOGRAM_CLONE,      /* spawn to parked */
	HISTOGRAM_WARM,       /* first call to the agent to parked */
	HISTOGRAM_BAKE,       /* hashing to a stored template, of bakes that ran */
	HISTOGRAM_IMAGE_MAKE, /* of the factory: layers to a stored image, of those made */
	HISTOGRAM_MAX_,
};
DECLARE_STRING_TABLE(histogram, enum histogram);

#define METRICS_COUNTS_MAX 128
#define METRICS_BUCKETS    31

/* Upper edges, in microseconds, ascending; a value on an edge belongs below it. */
extern const uint64_t metrics_bucket_us[METRICS_BUCKETS];

struct count {
	enum counter counter;
	char *reason; /* owned; "" where there is none to give */
	uint64_t value;
};

struct latency {
	uint64_t buckets[METRICS_BUCKETS + 1]; /* the last one: beyond every edge */
	uint64_t count;
	uint64_t sum_ns;
	uint64_t max_ns;
};

struct metrics {
	struct count counts[METRICS_COUNTS_MAX];
	size_t used;
	struct latency latencies[HISTOGRAM_MAX_];
};

void metrics_count(struct metrics *metrics, enum counter counter, const char *reason);
void metrics_observe(struct metrics *metrics, enum histogram histogram, uint64_t ns);
/* The time since begun_ns, CLOCK_MONOTONIC. */
void metrics_observe_since(struct metrics *metrics, enum histogram histogram, uint64_t begun_ns);
/* Adds what `from` has. */
void metrics_merge(struct metrics *metrics, const struct metrics *from);
void metrics_done(struct metrics *metrics);

/* Of all reasons together. */
uint64_t metrics_sum(const struct metrics *metrics, enum counter counter);

void latency_merge(struct latency *latency, const struct latency *from);
/* An estimate of the quantile (0..1), linear within its bucket; 0 where nothing was seen. */
uint64_t latency_quantile_us(const struct latency *latency, double quantile);
