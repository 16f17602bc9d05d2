/* What the host asks about the guest itself, and sets in it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { GUEST_SEED_MAX = 4096 };

/* Mixes fresh bytes into the kernel's random pool and makes its generators start anew from
 * it: a clone must not give out the numbers of its brothers. 1 to GUEST_SEED_MAX bytes; any
 * failure leaves the guest unfit for use. */
_must_check_ int guest_reseed(const void *data, size_t len, struct error *err);

/* Sets the wall clock; usec in [0, 999999]. */
_must_check_ int guest_set_time(int64_t sec, int64_t usec, struct error *err);

/* Bytes of one hotpluggable memory block; 0 where the kernel has no memory hotplug. */
uint64_t guest_memory_block_size(void);

/* Whether memory can be added by writing its address ("probe"). */
bool guest_can_probe_memory(void);
