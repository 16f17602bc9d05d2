/* The template's RAM file: what holds nothing but zeroes need not be stored. */
#pragma once

#include <stdint.h>

#include "base/error.h"

/* Punches runs of zero pages of at least 64 KiB out of the file, which nobody may write to
 * meanwhile (the vCPUs are stopped; a mapping of it stays valid and reads the same). The sizes
 * are of what the file takes up before and after. Blocks. */
_must_check_ int bake_memory_punch(const char *path, uint64_t *ret_before, uint64_t *ret_after,
				   struct error *err);
