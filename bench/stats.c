#include "bench/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define RESAMPLES 2000
#define ONE_SIDE  0.025 /* of a 95 % interval */
#define SEED      20260131

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double *sorted_copy(const double *samples, size_t count)
{
	double *sorted = xmemdup(samples, count * sizeof(*samples));

	qsort(sorted, count, sizeof(*sorted), compare_doubles);
	return sorted;
}

static double quantile_of_sorted(const double *sorted, size_t count, double q)
{
	size_t rank = (size_t)ceil(q * (double)count);

	if (rank > count)
		rank = count;
	return sorted[rank > 0 ? rank - 1 : 0];
}

double stats_quantile(const double *samples, size_t count, double q)
{
	if (count == 0)
		return 0;
	_cleanup_free_ double *sorted = sorted_copy(samples, count);
	return quantile_of_sorted(sorted, count, q);
}

/* ---------------------------------------------------------------- interval of a quantile */

/* Probability of exactly k of n, each with q. */
static double binomial(size_t n, size_t k, double q)
{
	double nn = (double)n, kk = (double)k;

	return exp(lgamma(nn + 1) - lgamma(kk + 1) - lgamma(nn - kk + 1) + kk * log(q) +
		   (nn - kk) * log1p(-q));
}

/* The number of samples below the quantile is binomial: cut ONE_SIDE off each end of it. */
static void quantile_ranks(size_t count, double q, size_t *ret_low, size_t *ret_high)
{
	double below = 0, above = 0;
	size_t low = 0, high = count;

	while (low < count && (below += binomial(count, low, q)) <= ONE_SIDE)
		low++;
	while (high > 0 && (above += binomial(count, high, q)) <= ONE_SIDE)
		high--;
	/* The interval is from the low-th smallest to the (high+1)-th smallest. */
	*ret_low = low > 0 ? low - 1 : 0;
	*ret_high = high < count ? high : count - 1;
}

struct interval stats_quantile_interval(const double *samples, size_t count, double q)
{
	size_t low, high;

	if (count == 0)
		return (struct interval){};
	_cleanup_free_ double *sorted = sorted_copy(samples, count);
	quantile_ranks(count, q, &low, &high);
	return (struct interval){
		.low = sorted[low],
		.value = quantile_of_sorted(sorted, count, q),
		.high = sorted[high],
	};
}

/* ---------------------------------------------------------------- ratio */

static void resample(struct rng *rng, const struct sample *from, double *into)
{
	for (size_t i = 0; i < from->count; i++)
		into[i] = from->samples[rng_next(rng) % from->count];
	qsort(into, from->count, sizeof(*into), compare_doubles);
}

static double ratio_of_resamples(struct rng *rng, const struct sample *a, const struct sample *b,
				 double *scratch)
{
	resample(rng, a, scratch);
	double upper = quantile_of_sorted(scratch, a->count, a->q);
	if (a->samples != b->samples)
		resample(rng, b, scratch);
	double lower = quantile_of_sorted(scratch, b->count, b->q);
	return lower > 0 ? upper / lower : 0;
}

struct interval stats_ratio(const struct sample *a, const struct sample *b)
{
	struct rng rng = { .state = SEED };
	_cleanup_free_ double *scratch = xnew_array(double,
						    a->count > b->count ? a->count : b->count);
	_cleanup_free_ double *ratios = xnew_array(double, RESAMPLES);
	double lower = stats_quantile(b->samples, b->count, b->q);

	for (size_t i = 0; i < RESAMPLES; i++)
		ratios[i] = ratio_of_resamples(&rng, a, b, scratch);
	qsort(ratios, RESAMPLES, sizeof(*ratios), compare_doubles);
	return (struct interval){
		.low = quantile_of_sorted(ratios, RESAMPLES, ONE_SIDE),
		.value = lower > 0 ? stats_quantile(a->samples, a->count, a->q) / lower : 0,
		.high = quantile_of_sorted(ratios, RESAMPLES, 1 - ONE_SIDE),
	};
}

/* ---------------------------------------------------------------- random numbers */

uint64_t rng_next(struct rng *rng)
{
	uint64_t z = rng->state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

double rng_uniform(struct rng *rng)
{
	return (double)((rng_next(rng) >> 11) + 1) * 0x1p-53;
}

double rng_exponential(struct rng *rng, double mean)
{
	return -mean * log(rng_uniform(rng));
}
