/* The right to be the factory of a folder: two on one run folder would reap each other's
 * machines, two on one store would clean up each other's bakes. */
#pragma once

#include <sys/types.h>

#include "base/error.h"

/* Locks FOLDER/NAME, which exists from then on and holds the pid of the holder; the lock ends with
 * the last descriptor of *ret_fd's file, whoever has it. -EADDRINUSE names the pid of the one that
 * has it; `key` is what to configure otherwise. */
_must_check_ int instance_lock(const char *folder, const char *name, const char *key, pid_t holder,
			       int *ret_fd, struct error *err);
