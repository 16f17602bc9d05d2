/* One container: its first process, its execs, its cgroup, its storages.
 *
 *   CREATING  the first process makes its world      -> CREATED, REMOVING (failed)
 *   CREATED   waits for StartContainer               -> RUNNING, STOPPED, REMOVING
 *   RUNNING   the program runs                       -> STOPPED, REMOVING
 *   STOPPED   the first process has ended; statuses and output stay -> REMOVING
 *   REMOVING  killed; goes when nothing is left of it
 *
 * A creation that fails answers when everything it made is gone again, so the same id can be
 * used at once.
 */
#pragma once

#include "agent/agent.h"
#include "agent/process.h"
#include "agent/storage.h"
#include "base/state.h"
#include "base/strings.h"
#include "proto/agent.pb-c.h"
#include "proto/guest.pb-c.h"
#include "proto/ttrpc_server.h"

enum container_state {
	CONTAINER_CREATING,
	CONTAINER_CREATED,
	CONTAINER_RUNNING,
	CONTAINER_STOPPED,
	CONTAINER_REMOVING,
};
DECLARE_STRING_TABLE(container_state, enum container_state); /* "creating", ... */
extern const struct state_machine container_states;

struct container;

struct container_options {
	struct agent *agent;           /* borrowed */
	struct storage_list *storages; /* the sandbox's; borrowed */
	const Grpc__CreateContainerRequest *request;
	const char *hostname; /* the sandbox's, also where a container has changed the guest's;
				 NULL: it has none */
	const struct pid_namespace *pids; /* whose processes it shares; borrowed until the return of
					   * container_new(); NULL: nobody's */
	/* The container is gone and frees itself after this. */
	void (*on_gone)(struct container *container, void *userdata);
	/* The kernel has killed one of its processes for want of memory. */
	void (*on_oom)(struct container *container, void *userdata);
	void *userdata;
};

/* 0: it is under way, and the call is ended later. Else nothing is left and the call is still
 * the caller's. */
_must_check_ int container_new(const struct container_options *options, struct ttrpc_call *call,
			       struct container **ret, struct error *err);

/* At the agent's end: frees without waiting for anything. */
void container_free(struct container *container);

/* Each ends the call, at once or later. */
void container_start(struct container *container, struct ttrpc_call *call);
void container_exec(struct container *container, struct ttrpc_call *call,
		    const Grpc__ExecProcessRequest *request);
/* DEADLINE_EXCEEDED where something lives on after timeout_s (0: 10) seconds; the container
 * is REMOVING then, and removing it again tries again. */
void container_remove(struct container *container, struct ttrpc_call *call, unsigned timeout_s);

/* Everything in it stops, or goes on; answered when that is so. */
void container_pause(struct container *container, struct ttrpc_call *call, bool pause);
/* For container_step(). */
void container_answer_pausers(struct container *container);

/* A signal to all of its processes, also those that outlive the first one. */
_must_check_ int container_signal(struct container *container, int signo, struct error *err);
_must_check_ int container_update(struct container *container,
				  const Grpc__LinuxResources *resources, struct error *err);
/* The caller frees both as what they are. */
_must_check_ int container_stats(const struct container *container,
				 Grpc__StatsContainerResponse **ret, struct error *err);
_must_check_ int container_list(const struct container *container,
				Kiln__Guest__V1__ListProcessesResponse **ret, struct error *err);

/* Starts the removal without anybody waiting for it. */
void container_give_up(struct container *container);

/* Goes on with a removal where it can. */
void container_step(struct container *container);

/* "" and the container's id mean the first process. NULL where there is none. Borrowed. */
struct process *container_process(struct container *container, const char *exec_id);

const char *container_id(const struct container *container);
enum container_state container_state(const struct container *container);
