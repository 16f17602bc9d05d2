/* Which template serves a claim that names none. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct template_offer {
	const char *name;
	const char *state; /* for the sentence */
	uint64_t vcpus, memory_mib;
	unsigned readiness; /* 0: cannot serve; the higher, the sooner */
};

/* The index of the best offer for so many vCPUs and MiB (0: any will do). Those that can serve
 * soonest come first; among them the exact fit, else the smallest that is large enough, by
 * memory and then by vCPUs. Without requirements it is the one named "default", else the first.
 * -EBUSY: none fits, or none that fits can serve, and the sentence says what there is. */
_must_check_ int template_choose(const struct template_offer *offers, size_t count, uint32_t vcpus,
				 uint32_t memory_mib, struct error *err);
