/* Tells when the kernel kills a process of a cgroup, or below it, for want of memory. */
#pragma once

#include "base/loop.h"

struct oom_watch;

/* dir: the cgroup's folder, borrowed. fn is called from the loop, and from oom_watch_check(), once
 * for all that were killed since it was called last. NULL where this kernel does not count them. */
struct oom_watch *oom_watch_new(struct loop *loop, int dir, void (*fn)(void *userdata),
				void *userdata);

/* Looks at once: a process has ended, and why is to be known first. NULL is nothing. */
void oom_watch_check(struct oom_watch *watch);
void oom_watch_free(struct oom_watch *watch);
