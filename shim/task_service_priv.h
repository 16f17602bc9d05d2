/* Inside of the Task service, shared by task_service.c (the life of tasks) and task_control.c (what
 * is asked of a task as a whole). */
#pragma once

#include "proto/task.pb-c.h"
#include "proto/ttrpc_server.h"
#include "shim/shim.h"

/* A call that is answered later, with what its answer or its cancellation needs. */
struct task_pending {
	struct ttrpc_call *call;
	struct container *container; /* one reference, or NULL */
	struct process *process;     /* one reference, or NULL */
};

struct task_pending *task_pending_new(struct ttrpc_call *call, struct container *container,
				      struct process *process);
void task_pending_free(struct task_pending *pending);

/* What a request names; both borrowed. */
struct task_target {
	struct container *container;
	struct process *process; /* NULL: there is none, and the call is answered */
};

struct task_target task_find(struct ttrpc_call *call, struct shim *shim, const char *id,
			     const char *exec_id);

/* A process_done_fn for calls without a result; userdata is the call. */
void task_reply_empty(int number, const struct error *err, void *userdata);

#define TASK_HANDLER(name)                                                                         \
	void task_on_##name(struct ttrpc_call *call, const ProtobufCMessage *message,              \
			    void *userdata)

TASK_HANDLER(pids);
TASK_HANDLER(pause);
TASK_HANDLER(resume);
TASK_HANDLER(update);
TASK_HANDLER(stats);
TASK_HANDLER(checkpoint);
