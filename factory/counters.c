#include "factory/counters.h"

#include "base/memory.h"

static const char *const counter_names[] = {
	[COUNTER_CLAIMS_POOLED] = "claims_pooled",
	[COUNTER_CLAIMS_CLONED] = "claims_cloned",
	[COUNTER_CLAIMS_FAILED] = "claims_failed",
	[COUNTER_CLAIMS_TAKEN_BACK] = "claims_taken_back",
	[COUNTER_RELEASES] = "releases",
	[COUNTER_CLONES_PARKED] = "clones_parked",
	[COUNTER_CLONES_FAILED] = "clones_failed",
	[COUNTER_PARKED_LOST] = "parked_lost",
	[COUNTER_SANDBOXES_ENDED] = "sandboxes_ended",
	[COUNTER_ADOPTED] = "adopted",
	[COUNTER_BAKES] = "bakes",
	[COUNTER_BAKES_FAILED] = "bakes_failed",
};
DEFINE_STRING_TABLE(counter, enum counter, counter_names)

static struct count *counters_find(struct counters *counters, enum counter counter,
				   const char *reason)
{
	for (size_t i = 0; i < counters->used; i++) {
		struct count *count = &counters->counts[i];
		if (count->counter == counter && str_equal(count->reason, reason))
			return count;
	}
	return NULL;
}

void counters_add(struct counters *counters, enum counter counter, const char *reason)
{
	/* The last places are kept for each counter's "other". */
	size_t room = COUNTERS_MAX - ARRAY_SIZE(counter_names);
	struct count *count = counters_find(counters, counter, reason);

	if (!count && counters->used >= room) {
		reason = "other";
		count = counters_find(counters, counter, reason);
	}
	if (!count) {
		count = &counters->counts[counters->used++];
		*count = (struct count){ .counter = counter, .reason = xstrdup(reason) };
	}
	count->value++;
}

void counters_done(struct counters *counters)
{
	for (size_t i = 0; i < counters->used; i++)
		free(counters->counts[i].reason);
	counters->used = 0;
}
