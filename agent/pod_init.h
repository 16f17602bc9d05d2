/* The pid namespace that all containers of a pod share, and its first process.
 *
 * That process is born when a container asks for it first, so a pod that does not share has none.
 * It does nothing: the kernel collects the orphans that it gets, because it ignores their ends. It
 * has no capabilities, nothing open, and an empty root with the namespace's /proc; its memory is a
 * copy of the agent's, closed to all without CAP_SYS_PTRACE.
 *
 * With its end, by want of memory for example, all in the namespace ends, and the next container
 * that asks gets a new one.
 */
#pragma once

#include <sys/types.h>

#include "agent/agent.h"
#include "agent/pid_namespace.h"

struct pod_init {
	struct agent *agent;       /* borrowed */
	pid_t pid;                 /* 0: there is none */
	struct pid_namespace pids; /* owns its descriptors; valid where there is one */
};

void pod_init_init(struct pod_init *init, struct agent *agent);

/* *ret is borrowed, until the next turn of the loop. */
_must_check_ int pod_init_get(struct pod_init *init, const struct pid_namespace **ret,
			      struct error *err);

/* Ends it, where there is one, and with it what is left in the namespace. */
void pod_init_end(struct pod_init *init);
