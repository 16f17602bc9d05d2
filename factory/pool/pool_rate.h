/* How often machines are claimed, and how many parked ones that calls for (target "auto").
 *
 * The rate is a count of claims that is forgotten exponentially, with a half-life of
 * POOL_RATE_HALF_LIFE_S: a claim adds ln 2 / half-life, and between claims the value decays. A
 * steady stream of R claims a second settles at R. Unlike a mean of the gaps between arrivals
 * it falls by itself when claims stop coming, one long gap does not spoil it, a burst within
 * one tick needs no special case, and it is one number whose memory has a length one can name.
 *
 * The target has to last while one replacement is being made: with claims that come
 * independently (Poisson) at rate R and T seconds to make a clone, m = R * T of them come in
 * that time, with a standard deviation of sqrt(m):
 *
 *   target = ceil(POOL_RATE_SAFETY * m + POOL_RATE_SIGMAS * sqrt(m))
 *
 * The first term covers a drift of the rate, the second the chance of a pile-up: three sigmas,
 * so that some one claim in a thousand finds the pool empty. T is a moving mean over the clones
 * that were made.
 */
#pragma once

#include <stdint.h>

#define POOL_RATE_HALF_LIFE_S 60.0
#define POOL_RATE_SAFETY      1.5
#define POOL_RATE_SIGMAS      3.0

/* Zeroed: no claim yet, and clones take a second. */
struct pool_rate {
	double per_s; /* as of at_ns */
	uint64_t at_ns;
	double make_s; /* 0: not known yet */
};

void pool_rate_claimed(struct pool_rate *rate, uint64_t now_ns);
void pool_rate_made(struct pool_rate *rate, uint64_t took_ns);
double pool_rate_per_s(const struct pool_rate *rate, uint64_t now_ns);
uint64_t pool_rate_target(const struct pool_rate *rate, uint64_t now_ns, uint64_t min,
			  uint64_t max);
