/* A named series of measured times, and its JSON. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "bench/histogram.h"
#include "bench/stats.h"

struct series {
	char *name; /* "SCENARIO.WHAT"; owned */
	char *what; /* for people: from which event to which; owned */
	double *ms; /* in the order measured; owned */
	size_t count;
	struct histogram *histogram; /* of the same, in microseconds; owned */
};

struct series *series_new(const char *name, const char *what);
void series_free(struct series *series);
DEFINE_CLEANUP(struct series *, series_free)

void series_add(struct series *series, uint64_t ns);
/* What a program in a container printed: a number of nanoseconds a line, of which the first skipped
 * are left out. -EBADMSG where it is something else, or not so many lines. */
_must_check_ int series_add_lines(struct series *series, const char *text, size_t skipped,
				  size_t lines, struct error *err);

/* Of the samples themselves. */
double series_quantile(const struct series *series, double q);
struct interval series_interval(const struct series *series, double q);

/* bench/README.md has the schema. What is read back is checked: finite samples, not negative. */
json_t *series_to_json(const struct series *series);
_must_check_ int series_from_json(const char *name, const json_t *json, struct series **ret_series,
				  struct error *err);
