/* One process of a container: its first one, or an exec.
 *
 *   state     what it is                                            leaves by
 *   CREATED   init: waits in the guest; exec: known only here       process_start(), kill, loss
 *   STARTING  the agent was told                                    its answer
 *   RUNNING   TaskStart (TaskExecStarted) is published              the agent's WaitProcess, loss
 *   EXITED    its status is known, output is still being delivered  shim/io.h says: settled
 *   STOPPED   TaskExit is published, those who wait are answered    process_end()
 *
 * A start that fails goes to STOPPED with status 255 and without TaskExit: nothing ever ran.
 * The loss of the sandbox is an exit with status 255; with 137, where the machine was ended for its
 * silence.
 *
 * SIGKILL cannot be refused: where the exit is not known within kill_s of it, the guest is given up
 * (shim/agent_link.h), and with its machine the process ends.
 *
 * A stand-in is the first process of a pod's sandbox container, as containerd sees it: nothing runs
 * for it in the guest. It ends by the signals that a pause program ends by, and with its machine.
 *
 * Reference counted: the container holds one, every call in flight one. Callbacks of operations
 * come exactly once, never from within the function they were given to.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/state.h"
#include "base/strings.h"
#include "base/waiters.h"
#include "proto/oci.pb-c.h"
#include "proto/task_process.pb-c.h"
#include "shim/events.h"
#include "shim/io.h"

#define PROCESS_LOST_STATUS   255
#define PROCESS_KILLED_STATUS 137 /* 128 + SIGKILL */

enum process_state {
	PROCESS_CREATED,
	PROCESS_STARTING,
	PROCESS_RUNNING,
	PROCESS_EXITED,
	PROCESS_STOPPED,
};
DECLARE_STRING_TABLE(process_state, enum process_state);
extern const struct state_machine process_states;

/* What containerd calls it. */
Containerd__V1__Types__Status process_state_status(enum process_state state);

struct process;

struct process_options {
	struct loop *loop;
	struct agent_link *agent;           /* borrowed */
	struct events *events;              /* borrowed; NULL: nobody is told */
	const char *container_id;           /* copied; "": of the guest's own (agent/console.h) */
	const char *exec_id;                /* copied; "": the first process */
	const char *ns;                     /* containerd's namespace */
	struct stdio stdio;                 /* taken, also on failure */
	Grpc__Process *spec;                /* of an exec; taken, also on failure */
	uint32_t pid;                       /* to be reported: the VMM's */
	uint64_t kill_s;                    /* from SIGKILL until its exit is known, seconds */
	bool is_stand_in;                   /* see above */
	void (*on_running)(void *userdata); /* once, if ever; NULL: nobody is told */
	void *userdata;
};

/* number 0 or an error of the operation, borrowed. */
typedef void (*process_done_fn)(int number, const struct error *err, void *userdata);

_must_check_ int process_new(const struct process_options *options, struct process **ret_process,
			     struct error *err);
struct process *process_ref(struct process *process);
void process_unref(struct process *process);
DEFINE_CLEANUP(struct process *, process_unref)

/* init only: the agent has it, its end is waited for from now on. */
void process_created(struct process *process, uint32_t pid);

void process_start(struct process *process, process_done_fn done, void *userdata);
/* all: of the first process alone; the signal goes to all of the container's. */
void process_kill(struct process *process, uint32_t signo, bool all, process_done_fn done,
		  void *userdata);
void process_resize(struct process *process, uint32_t width, uint32_t height, process_done_fn done,
		    void *userdata);
void process_close_stdin(struct process *process);

/* fn is called once in STOPPED, unless taken back; it may come before this returns. */
void process_wait(struct process *process, waiter_fn fn, void *userdata);
void process_wait_cancel(struct process *process, void *userdata);

/* When a client last used it, CLOCK_MONOTONIC: its streams, its start; an exec that runs, now. */
uint64_t process_used_ms(const struct process *process);

/* The sandbox is gone, or is being ended. */
void process_lost(struct process *process, uint32_t exit_status);

/* Before process_end(), of an exec whose container goes on: where others have its output open (what
 * it has left running), the guest is told that nobody reads it any more. A writer finds what it
 * would by runc: EPIPE, or, where the client wanted no output, that all is well. An agent that
 * cannot do it leaves them be, and they wait once the pipe is full. */
void process_close_output(struct process *process);

/* Ends its streams and, where it has not ended itself, the process as we know it: status 255,
 * TaskExit, answers. One that is being started has not run: no TaskExit, its start fails, and an
 * exec that the guest starts all the same is killed there. Then unref. */
void process_end(struct process *process);

enum process_state process_state(const struct process *process);
const char *process_exec_id(const struct process *process);
const struct stdio *process_stdio(const struct process *process);
uint32_t process_pid(const struct process *process);
uint32_t process_exit_status(const struct process *process);
uint64_t process_exited_ns(const struct process *process); /* since the epoch; 0: not yet */
