/* One process of a container: its first one, or an exec.
 *
 *   SETUP    cloned, being set up
 *   READY    set up; a first process waits for StartContainer here
 *   RUNNING  its program runs
 *   EXITED   collected; its status is kept, its output can still be read
 *
 *   SETUP -> READY -> RUNNING -> EXITED, an exec's SETUP -> RUNNING, and any -> EXITED.
 *
 * The end of the process and the end of its output come in either order and are independent:
 * WaitProcess is answered with the first, an empty ReadStdout says the second.
 */
#pragma once

#include "agent/child.h"
#include "agent/input.h"
#include "agent/output.h"
#include "base/state.h"
#include "base/strings.h"

enum process_state { PROCESS_SETUP, PROCESS_READY, PROCESS_RUNNING, PROCESS_EXITED };
DECLARE_STRING_TABLE(process_state, enum process_state); /* "setup", "ready", ... */
extern const struct state_machine process_states;

struct agent;
struct process;

enum process_event {
	PROCESS_EVENT_READY,   /* set up; a first process may be started now */
	PROCESS_EVENT_STARTED, /* the program runs */
	PROCESS_EVENT_FAILED,  /* it will never run; err says why; EXITED follows */
	PROCESS_EVENT_EXITED,  /* the last event, always */
};

/* err is the callback's to change. */
typedef void (*process_fn)(struct process *process, enum process_event event, struct error *err,
			   void *userdata);

struct process_options {
	struct agent *agent; /* borrowed, as all below */
	const char *id;      /* the exec id; of a first process the container's */
	struct child_plan *plan;
	uint64_t clone_flags;
	int cgroup_fd; /* -EBADF: none */
	process_fn on_event;
	void *userdata;
};

/* Starts it. */
_must_check_ int process_new(const struct process_options *options, struct process **ret,
			     struct error *err);

/* The process must have ended (or the agent does). Answers what still waits. */
void process_free(struct process *process);

/* Lets a READY process run; STARTED or FAILED follows. */
_must_check_ int process_start(struct process *process, struct error *err);

/* -ESRCH where it has ended. What the first process of a pid namespace cannot take yet is kept for
 * it (agent/kept_signals.h). */
_must_check_ int process_signal(struct process *process, int signo);

/* Each ends the call, at once or later. */
void process_wait(struct process *process, struct ttrpc_call *call);
void process_write(struct process *process, struct ttrpc_call *call,
		   const Grpc__WriteStreamRequest *request);
struct output *process_stdout(struct process *process); /* borrowed */
struct output *process_stderr(struct process *process); /* borrowed; ended where a terminal */

void process_close_stdin(struct process *process);

/* Nobody reads its output any more, though others may have it open. Of each stream: who writes to
 * it is told so by EPIPE (of a terminal by EIO), or what is written is dropped. */
void process_close_output(struct process *process, bool drop_stdout, bool drop_stderr);

/* -ENOTTY where it has no terminal. */
_must_check_ int process_resize(struct process *process, uint32_t rows, uint32_t columns);

const char *process_id(const struct process *process);
enum process_state process_state(const struct process *process);
pid_t process_pid(const struct process *process);
int process_pidfd(const struct process *process); /* borrowed */

/* Ended, its status asked for and its output read or closed: nothing is lost by forgetting it. */
bool process_is_spent(const struct process *process);

/* What a status of waitpid(2) is to a shell: the exit code, or 128 and the signal. */
int process_exit_code(int status);
