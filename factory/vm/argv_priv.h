/* How an argument vector of QEMU's is read, for argv.c and argv_boot.c. */
#pragma once

#include <stddef.h>

#include "base/strv.h"

/* One option with its value, NULL where it takes none. Both borrowed from the vector. */
struct argument {
	const char *name;
	const char *value;
};

/* Takes the option at *at. No value of QEMU's begins with a dash but the kernel's parameters,
 * so the vector can be read without a list of all options. */
struct argument argument_take(const struct strv *argv, size_t *at);
