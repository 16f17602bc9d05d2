/* A pid namespace that a container does not have to itself: that of its pod (agent/pod_init.h), or
 * that of another container.
 *
 * The process that makes a container's world has the guest's root until the last step, and nobody
 * in the namespace may see that. So it stays outside, is shown the namespace's /proc, and when the
 * world is made a child of its own is born in the namespace and goes on (agent/child.h).
 */
#pragma once

#include "base/error.h"

/* By a process that is in it, and has its procfs on /proc. */
struct pid_namespace {
	int pidfd; /* borrowed */
	int ready; /* borrowed; ends when that is so, after a sentence where it never will; -EBADF:
		    * it is so */
};

/* For the child, in its new mount namespace: what it clones from now on is born in there. *ret_proc
 * is a procfs that shows it, attached nowhere; the caller owns it. The child has a mount namespace
 * and threads to itself. */
_must_check_ int pid_namespace_join(const struct pid_namespace *pids, int *ret_proc,
				    struct error *err);
