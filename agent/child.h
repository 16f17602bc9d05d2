/* A process between its clone and its program: the child's side.
 *
 * It runs in a copy of the agent's memory, with nothing of the agent's open but what the plan
 * names, and ends in execve or _exit. It never returns to the agent's code.
 *
 * The first process of a container that shares processes is made by another one: that makes the
 * world outside of the pid namespace, with the guest's root until its last step, and clones the
 * first process into the namespace when there is nothing left to be seen of the guest. Both are the
 * agent's children.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/namespaces.h"
#include "agent/pid_namespace.h"
#include "agent/process_plan.h"
#include "agent/rootfs.h"
#include "proto/seccomp_profile.h"

struct child_plan {
	struct process_plan *process;            /* the child completes its copy */
	struct rootfs_plan *rootfs;              /* a container's first process; else NULL */
	const struct namespace_plan *namespaces; /* the same */
	const struct pid_namespace *pids;        /* the same, where processes are shared */
	volatile pid_t *successor; /* with pids: who went on, for the agent. Set by launch_new() */
	const char *hostname;      /* "": not set */
	const struct seccomp_program *filter;
	int join_pidfd; /* for an exec: the container's first process; else -EBADF. Neither this nor
			 * rootfs: a program of the guest's own (agent/console.h) */
	int cgroup_namespace; /* for an exec; set by child_join(), a descriptor of the child's */
	int stdio[3];         /* -EBADF where a terminal takes their place */
	bool no_stdin;        /* /dev/null takes its place: nobody writes to stdio[0] */
	int sync;             /* set by launch_new() */
};

/* What is said on the sync socket (SOCK_SEQPACKET: one message, one packet). */
enum child_message_kind { CHILD_READY = 1, CHILD_FAILED = 2 };

enum { CHILD_TEXT_MAX = 2048 };

struct child_message {
	uint32_t kind;
	int32_t number; /* errno of a failure */
	char text[CHILD_TEXT_MAX];
};

/* For an exec, before the child is born, in a process of the agent's that shares its memory and
 * nothing else: enters the container's namespaces with nothing open but the child's own descriptors
 * and cgroup (-EBADF: none), and gives up what the child will not need. It waits for nothing. The
 * child enters the cgroup namespace itself, and gives up CAP_SYS_ADMIN then. */
_must_check_ int child_join(struct child_plan *plan, int cgroup, struct error *err);

_Noreturn void child_run(const struct child_plan *plan);
