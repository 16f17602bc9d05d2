/* fork(2) for a child that becomes another program: with a pidfd from the start, and with no window
 * in which a handler of the parent's could run in the child. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/* Returns as fork does; -1 with errno. In the child all signals are blocked, and it is the child
 * that unblocks them, when it has no handlers any more. In the parent they are as they were, and
 * the pidfd is the caller's.
 *
 * flags are those of clone3(2) besides CLONE_PIDFD. cgroup is the folder of a control group of v2,
 * which the child is in from its first moment on; -EBADF: the parent's. */
pid_t clone_process(uint64_t flags, int cgroup, int *ret_pidfd);
