/* Two results side by side: what changed beyond noise.
 *
 * A time has changed where the 95 % interval of the ratio of the medians does not hold 1 and the
 * medians differ by more than COMPARE_SMALLEST. A figure without samples (memory) has changed
 * where it differs by more than that. Less is better in all of them but `hit_ratio` and
 * `refill_per_s`; what only one result has is said and counts as no change.
 *
 * Times of two machines, or of one machine under two loads, are not comparable: where the
 * machines differ it says so.
 */
#pragma once

#include <stdio.h>

#include "bench/result.h"

#define COMPARE_SMALLEST 0.05

struct comparison {
	unsigned better;
	unsigned worse;
	unsigned same;
};

/* A line for each figure to out. */
struct comparison compare_results(const struct result *old, const struct result *now, FILE *out);
