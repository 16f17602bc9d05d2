/* Copies of guest memory and of images that take no more room than what is in them: runs of
 * zeroes stay holes. On hugetlbfs, where a file is written by mapping it and a hole is a huge
 * page, that is the unit.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Fills the empty file `to` (named `name` in errors) with the content of `from`. Blocks; looks at
 * *cancelled (may be NULL) after each piece: -ECANCELED. -ENOMEM: no huge page is free. */
_must_check_ int memory_copy(int from, int to, const char *name, const atomic_bool *cancelled,
			     struct error *err);

/* The unit in which the file system of fd gives out room where it is hugetlbfs, else 0. */
uint64_t memory_huge_page(int fd);
