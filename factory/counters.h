/* Named counts with their reasons, for `status` and for whoever watches the factory.
 *
 * The names are fixed (the table in counters.c); reasons are short, from our own code, and
 * bounded in number: what does not fit any more is counted under "other".
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/strings.h"

enum counter {
	COUNTER_CLAIMS_POOLED,
	COUNTER_CLAIMS_CLONED,
	COUNTER_CLAIMS_FAILED,
	COUNTER_CLAIMS_TAKEN_BACK,
	COUNTER_RELEASES,
	COUNTER_CLONES_PARKED,
	COUNTER_CLONES_FAILED,
	COUNTER_PARKED_LOST,
	COUNTER_SANDBOXES_ENDED,
	COUNTER_ADOPTED,
	COUNTER_BAKES,
	COUNTER_BAKES_FAILED,
};
DECLARE_STRING_TABLE(counter, enum counter);

#define COUNTERS_MAX 128

struct count {
	enum counter counter;
	char *reason; /* owned; "" where there is none to give */
	uint64_t value;
};

struct counters {
	struct count counts[COUNTERS_MAX];
	size_t used;
};

void counters_add(struct counters *counters, enum counter counter, const char *reason);
void counters_done(struct counters *counters);
