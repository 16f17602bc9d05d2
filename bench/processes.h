/* The processes that containers take on the host, and their memory: shims, what they have started,
 * and machines. */
#pragma once

#include "base/loop.h"
#include "bench/smaps.h"

/* The shim with this id among its arguments; program is its name without a folder. -ESRCH: there is
 * none. */
_must_check_ int shim_find(const char *program, const char *id, pid_t *ret_pid, struct error *err);

/* Of a process and of all that descend from it. */
_must_check_ int tree_memory(pid_t pid, struct smaps *ret_sum, struct error *err);

/* Of the VMMs of a factory whose machines are claimed. */
_must_check_ int claimed_memory(struct loop *loop, const char *factory, struct smaps *ret_sum,
				struct error *err);
