/* A high dynamic range histogram: counts of whole numbers from 1 to HISTOGRAM_MAX, each kept to
 * three significant digits, in constant memory and constant time.
 *
 * Laid out as HdrHistogram's (Gil Tene, hdrhistogram.org): a row of buckets, each twice as wide
 * as the one before and cut into the same number of equal parts. HdrHistogram_c itself is not in
 * Debian 12.
 *
 * Values are microseconds here, so the range is 1 us to more than an hour.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

#define HISTOGRAM_MAX 4294967295u /* larger values are counted as this one */

struct histogram;

struct histogram *histogram_new(void);
void histogram_free(struct histogram *histogram);
DEFINE_CLEANUP(struct histogram *, histogram_free)

void histogram_record(struct histogram *histogram, uint64_t value);

uint64_t histogram_count(const struct histogram *histogram);

/* The smallest value that at least the share q (0 to 1) of all counts is at or below, rounded
 * up to the end of its part; 0 where the histogram is empty. */
uint64_t histogram_quantile(const struct histogram *histogram, double q);

/* The counted parts from the lowest on. `struct histogram_part part = {};` begins. */
struct histogram_part {
	uint64_t highest; /* value in the part */
	uint64_t count;
	size_t next; /* private */
};
bool histogram_next(const struct histogram *histogram, struct histogram_part *part);
