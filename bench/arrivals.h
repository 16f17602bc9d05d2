/* Claims that arrive when they arrive, whether earlier ones are answered or not (open loop).
 *
 * Each latency is counted from the moment its claim was to arrive, not from when it was sent: a
 * claim that had to wait because the one before was slow, or because this process was, counts
 * its wait. That is what corrects for coordinated omission; nothing is left out to be guessed
 * afterwards.
 *
 * An arrival ends with the answer to CreateSandbox in the claimed guest. The sandbox is then held
 * for a while and released.
 */
#pragma once

#include "bench/bench.h"

struct arrival {
	uint64_t at_ns;      /* intended, from the beginning; in ascending order */
	uint64_t latency_ns; /* out */
	bool pooled;         /* out: the machine had been parked */
	bool failed;         /* out; then the two above say nothing */
};

struct arrivals_options {
	const char *address;
	uint64_t hold_ms; /* from the sandbox being there to its release */
	struct arrival *arrivals;
	size_t count;
};

/* Returns when the last sandbox is released. Claims that failed are not an error. */
_must_check_ int arrivals_run(struct bench *bench, const struct arrivals_options *options,
			      struct error *err);

/* Poisson arrivals for so long: the caller frees *ret_arrivals. */
size_t arrivals_poisson(struct rng *rng, double per_s, double seconds,
			struct arrival **ret_arrivals);
