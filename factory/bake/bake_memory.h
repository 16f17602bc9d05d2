/* The template's RAM file: what holds nothing but zeroes need not be stored. */
#pragma once

#include <stdint.h>

#include "base/error.h"

/* What the file takes up: its size less the holes. */
_must_check_ int bake_memory_allocated(const char *path, uint64_t *ret_bytes, struct error *err);

/* Punches runs of zero pages of at least 64 KiB out of the file, which nobody may write to
 * meanwhile (the vCPUs are stopped; a mapping of it stays valid and reads the same). Blocks. */
_must_check_ int bake_memory_punch(const char *path, struct error *err);
