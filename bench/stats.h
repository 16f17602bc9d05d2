/* What is said about samples: quantiles, how sure they are, ratios, and random arrivals.
 *
 * Nothing here assumes a distribution. The interval of a quantile is that of order statistics
 * (the ranks between which it lies with 95 %, by the binomial distribution); that of a ratio is
 * a percentile bootstrap (Efron), with a fixed seed, so the same samples give the same answer.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct interval {
	double low;
	double value;
	double high;
};

/* Nearest rank: the smallest sample that at least the share q is at or below. Of a copy, so
 * samples may stand in any order; 0 where there are none. */
double stats_quantile(const double *samples, size_t count, double q);

/* The quantile and its 95 % interval; with few samples that is as wide as they are. */
struct interval stats_quantile_interval(const double *samples, size_t count, double q);

/* One side of a ratio. */
struct sample {
	const double *samples; /* borrowed */
	size_t count;
	double q;
};

/* a's quantile divided by b's, with its 95 % interval. Both have samples. Of one and the same
 * array of samples (a tail against its own median) each resample is drawn once for both. */
struct interval stats_ratio(const struct sample *a, const struct sample *b);

/* Random numbers for resampling and arrivals (splitmix64, Steele, Lea and Flood 2014). */
struct rng {
	uint64_t state;
};
uint64_t rng_next(struct rng *rng);
double rng_uniform(struct rng *rng);                  /* in (0, 1] */
double rng_exponential(struct rng *rng, double mean); /* gaps of a Poisson process */
