/* The right to be the factory of a folder: two on one run folder would reap each other's
 * machines, two on one store would clean up each other's bakes. */
#pragma once

#include "base/error.h"

/* Locks FOLDER/NAME, which exists from then on and holds our pid; the lock ends with *ret_fd.
 * -EADDRINUSE names the pid of the one that has it; `key` is what to configure otherwise. */
_must_check_ int instance_lock(const char *folder, const char *name, const char *key, int *ret_fd,
			       struct error *err);
