#include "factory/pool/pool_rate.h"

#include <math.h>

#define MAKE_GUESS_S 1.0
#define MAKE_WEIGHT  0.25 /* of the newest clone in the mean */

double pool_rate_per_s(const struct pool_rate *rate, uint64_t now_ns)
{
	double gone_s = now_ns > rate->at_ns ? (double)(now_ns - rate->at_ns) / 1e9 : 0;

	return rate->per_s * exp2(-gone_s / POOL_RATE_HALF_LIFE_S);
}

void pool_rate_claimed(struct pool_rate *rate, uint64_t now_ns)
{
	rate->per_s = pool_rate_per_s(rate, now_ns) + M_LN2 / POOL_RATE_HALF_LIFE_S;
	rate->at_ns = now_ns;
}

void pool_rate_made(struct pool_rate *rate, uint64_t took_ns)
{
	double took_s = (double)took_ns / 1e9;

	if (rate->make_s <= 0)
		rate->make_s = took_s;
	rate->make_s += MAKE_WEIGHT * (took_s - rate->make_s);
}

uint64_t pool_rate_target(const struct pool_rate *rate, uint64_t now_ns, uint64_t min, uint64_t max)
{
	double make_s = rate->make_s > 0 ? rate->make_s : MAKE_GUESS_S;
	double mean = pool_rate_per_s(rate, now_ns) * make_s;
	double wanted = POOL_RATE_SAFETY * mean + POOL_RATE_SIGMAS * sqrt(mean);

	/* What is left of a claim long ago asks for nothing. */
	if (mean < 0.001)
		return min;
	if (wanted >= (double)max)
		return max;
	uint64_t target = (uint64_t)ceil(wanted);
	return target < min ? min : target;
}
