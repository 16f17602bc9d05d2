/* Tells whether a file is still the one that was read before. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/error.h"

struct input_stamp {
	uint64_t device, inode, size;
	int64_t modified_ns; /* the content, or so somebody says (utimensat(2)) */
	int64_t changed_ns;  /* content, name or rights: as the file system tells */
};

/* To be taken before the file is read: one that is written to meanwhile is read again next
 * time. */
_must_check_ int input_stamp_take(const char *path, struct input_stamp *ret_stamp,
				  struct error *err);
struct input_stamp input_stamp_of(const struct stat *st);
bool input_stamp_equal(const struct input_stamp *a, const struct input_stamp *b);
