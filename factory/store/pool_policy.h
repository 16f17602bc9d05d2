/* How many machines of a template are kept parked: the object "pool" of its definition.
 *
 *   key         default   meaning
 *   target      pool_size machines to keep parked, or "auto": by the rate of the claims
 *   min, max    1, 32     bounds of "auto"
 *   low_water   0         a refill begins below it and goes on to the target; 0: the target
 *   burst       0         clones under way at once for a refill; 0: clones_at_once
 *   max_age_s   0         a machine parked for longer is replaced; 0: never
 *   probe_s     30        seconds between two probes of the parked machines; 0: never
 *   spares      0         clones that wait, started and frozen, for being wanted
 *
 * The definition's key "pool_size" is the shorthand for a fixed target.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

struct pool_policy {
	bool automatic;
	uint64_t target; /* a fixed one */
	uint64_t min, max;
	uint64_t low_water;
	uint64_t burst;
	uint64_t max_age_s;
	uint64_t probe_s;
	uint64_t spares;
};

bool pool_policy_equal(const struct pool_policy *a, const struct pool_policy *b);

/* object NULL: all defaults. `where` names it in errors. -EINVAL, and *ret is untouched. */
_must_check_ int pool_policy_read(const json_t *object, uint64_t pool_size, const char *where,
				  struct pool_policy *ret, struct error *err);

/* The keys as a Markdown table, but for target, which is none of the table of keys. */
void pool_policy_print(FILE *out);
