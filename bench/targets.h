/* The table of targets: each one a ratio of two figures of one run, or a size.
 *
 * A ratio measured in one run on one machine says something on every machine; so the baseline in
 * git (bench/baseline.json) holds these and no times.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/strings.h"
#include "bench/result.h"

enum verdict {
	VERDICT_UNMEASURED,
	VERDICT_MISS, /* worse than `must` */
	VERDICT_PASS,
	VERDICT_AIM, /* as good as `aim` */
};
DECLARE_STRING_TABLE(verdict, enum verdict); /* "not measured", "miss", "pass", "aim" */

enum target_unit { UNIT_SHARE, UNIT_TIMES, UNIT_MIB };

/* Less is better in all of them. */
struct target {
	const char *name;
	const char *what;
	enum target_unit unit; /* 1/N, N times, or MiB */
	double must;
	double aim;
};

struct outcome {
	const struct target *target;
	struct interval measured; /* low and high are value where there is no interval */
	size_t count;             /* samples of the smaller side; 0 where it is no series */
	enum verdict verdict;
};

#define TARGETS 30
void targets_evaluate(const struct result *result, struct outcome ret_outcomes[static TARGETS]);

void targets_print(const struct outcome outcomes[static TARGETS], FILE *out);
json_t *targets_to_json(const struct outcome outcomes[static TARGETS]);

/* The baseline: {"schema", "machine", "targets": {NAME: {"value", "tolerance"}}}. A target has
 * become worse where even the low end of its interval is above value * tolerance. */
json_t *baseline_make(const struct outcome outcomes[static TARGETS], const json_t *about);
/* Prints a line for each target that is in both; *ret_worse counts. -EBADMSG: no baseline. */
_must_check_ int baseline_check(const struct outcome outcomes[static TARGETS],
				const json_t *baseline, FILE *out, unsigned *ret_worse,
				struct error *err);
