/* A process between its clone and its program: the agent's side.
 *
 * The child prepares itself (agent/child.h) and reports over a socket that its execve closes:
 *
 *   child: READY [+ terminal]   it is prepared; only the program is missing
 *   agent: go                   to a container's first process only, at StartContainer
 *   child: end of the stream    the program runs            -> LAUNCH_STARTED
 *   child: FAILED (sentence)    at any time, then it exits  -> LAUNCH_FAILED
 *
 *   BUILDING   a child makes the container's world, and will end; another one goes on
 *   PREPARING  the child has not said READY
 *   WAITING    a container's first process has said it and waits for "go"
 *   GOING      it may execute its program: only now the end of the stream is a success
 *   OVER       the last event has been told
 *
 *   PREPARING -> WAITING -> GOING -> OVER, an exec's PREPARING -> GOING, and any of these -> OVER.
 *   BUILDING -> PREPARING comes first where a container shares processes (agent/child.h). Until
 * then nothing that is said is heard.
 *
 * An exec is born last: a process of the agent's, which nobody in the container sees, closes what
 * the agent has open, joins the container's namespaces and gives up what the exec will not need;
 * only then it clones the child, which has CAP_SYS_ADMIN until it has joined the cgroup namespace:
 * who is in that cannot clone into a cgroup (nsdelegate). Whoever looks at the child in the
 * container's /proc, with whatever capabilities, finds the container's root and folders there from
 * its first moment on.
 *
 * Where the stream ends before that, the child has died, which is a failure too. So is every other
 * message: whoever breaks into the child can write to its socket.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "agent/child.h"
#include "base/loop.h"
#include "base/state.h"
#include "base/strings.h"

enum launch_state {
	LAUNCH_BUILDING,
	LAUNCH_PREPARING,
	LAUNCH_WAITING,
	LAUNCH_GOING,
	LAUNCH_OVER,
};
DECLARE_STRING_TABLE(launch_state, enum launch_state); /* "building", "preparing", ... */
extern const struct state_machine launch_states;

struct launch;

enum launch_event {
	LAUNCH_READY,   /* terminal: the master, taken by the callback, or -EBADF */
	LAUNCH_STARTED, /* the last event */
	LAUNCH_FAILED,  /* the last event; err says why */
};

typedef void (*launch_fn)(enum launch_event event, int terminal, struct error *err, void *userdata);

struct launch_options {
	struct child_plan *plan; /* borrowed until the return; sync, successor: filled in here */
	uint64_t clone_flags;    /* namespaces */
	int cgroup_fd;           /* borrowed; joined by the clone. -EBADF: none */
	launch_fn fn;            /* called from the loop or from launch_drain() */
	void *userdata;
};

/* Clones the child. The caller owns all that is returned and collects the process. */
_must_check_ int launch_new(struct loop *loop, const struct launch_options *options,
			    struct launch **ret, pid_t *ret_pid, int *ret_pidfd, struct error *err);

/* When the child has ended: true where that was BUILDING and another one goes on, which the caller
 * owns as the first. False: the launch is over when it is drained. */
_must_check_ bool launch_go_on(struct launch *launch, pid_t *ret_pid, int *ret_pidfd);

/* Lets the program of a WAITING process start. -EPIPE: the child is gone, or does not wait. */
_must_check_ int launch_go(struct launch *launch);

/* Reports what the child has said and nobody has read yet. To be called when the child has ended,
 * so that its last message is told before its end is. */
void launch_drain(struct launch *launch);

/* No event follows. The child, if it still waits, sees the socket close and exits. */
void launch_free(struct launch *launch);
