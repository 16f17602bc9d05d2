/* The processes in a container's cgroup and in those that it has made below. Numbers are the
 * guest's. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

struct pid_list {
	pid_t *pids; /* owned */
	size_t count;
};

/* dir: the cgroup's folder, borrowed. At most PID_LIST_MAX processes; what is beyond is left out.
 */
enum { PID_LIST_MAX = 32768 };
_must_check_ int pid_list_read(int dir, struct pid_list *ret, struct error *err);
void pid_list_done(struct pid_list *list);
