#include "bench/histogram.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"

/* Three digits want 2000 parts at the top of a bucket; the next power of two. The lower half of
 * all buckets but the first is covered by the one before. */
#define HALF_BITS 10
#define HALF      ((size_t)1 << HALF_BITS)
#define PARTS     (2 * HALF)
#define BUCKETS   (32 - HALF_BITS)
#define SLOTS     ((BUCKETS + 1) * HALF)

struct histogram {
	uint64_t counts[SLOTS];
	uint64_t total;
	uint64_t max;
};

struct histogram *histogram_new(void)
{
	return xnew(struct histogram);
}

void histogram_free(struct histogram *histogram)
{
	free(histogram);
}

static size_t slot_of(uint64_t value)
{
	unsigned bits = 64 - (unsigned)__builtin_clzll(value | (PARTS - 1));
	unsigned bucket = bits - (HALF_BITS + 1);

	return ((size_t)bucket << HALF_BITS) + (size_t)(value >> bucket);
}

static uint64_t slot_highest(size_t slot)
{
	if (slot < PARTS)
		return slot;
	unsigned bucket = (unsigned)(slot >> HALF_BITS) - 1;
	uint64_t part = (slot & (HALF - 1)) + HALF;
	return ((part + 1) << bucket) - 1;
}

void histogram_record(struct histogram *histogram, uint64_t value)
{
	if (value > HISTOGRAM_MAX)
		value = HISTOGRAM_MAX;
	histogram->counts[slot_of(value)]++;
	histogram->total++;
	if (value > histogram->max)
		histogram->max = value;
}

uint64_t histogram_count(const struct histogram *histogram)
{
	return histogram->total;
}

uint64_t histogram_quantile(const struct histogram *histogram, double q)
{
	uint64_t wanted = (uint64_t)ceil(q * (double)histogram->total);
	struct histogram_part part = {};
	uint64_t seen = 0;

	if (wanted == 0)
		wanted = 1;
	while (histogram_next(histogram, &part)) {
		seen += part.count;
		if (seen >= wanted)
			break;
	}
	return part.highest < histogram->max ? part.highest : histogram->max;
}

bool histogram_next(const struct histogram *histogram, struct histogram_part *part)
{
	for (size_t slot = part->next; slot < SLOTS; slot++) {
		if (histogram->counts[slot] == 0)
			continue;
		*part = (struct histogram_part){
			.highest = slot_highest(slot),
			.count = histogram->counts[slot],
			.next = slot + 1,
		};
		return true;
	}
	return false;
}
