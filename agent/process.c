#include "agent/process.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "agent/agent.h"
#include "agent/kept_signals.h"
#include "agent/launch.h"
#include "agent/reaper.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/socket.h"

enum {
	WAITERS_MAX = 64,
	SIGNAL_STATUS = 128,
	/* What a program may be ahead of who reads its output: four answers, so that one is under
	 * way while it writes the next. The kernel's own, 64 KiB, is one. */
	OUTPUT_PIPE_SIZE = 256 * 1024,
};

static const char *const state_names[] = {
	[PROCESS_SETUP] = "setup",
	[PROCESS_READY] = "ready",
	[PROCESS_RUNNING] = "running",
	[PROCESS_EXITED] = "exited",
};
DEFINE_STRING_TABLE(process_state, enum process_state, state_names)

static const unsigned next_states[] = {
	[PROCESS_SETUP] = STATE(PROCESS_READY) | STATE(PROCESS_RUNNING) | STATE(PROCESS_EXITED),
	[PROCESS_READY] = STATE(PROCESS_RUNNING) | STATE(PROCESS_EXITED),
	[PROCESS_RUNNING] = STATE(PROCESS_EXITED),
	[PROCESS_EXITED] = 0,
};
const struct state_machine process_states = STATE_MACHINE("process", state_names, next_states);

struct process {
	struct agent *agent; /* borrowed */
	char *id;            /* owned */
	enum process_state state;
	pid_t pid;
	int pidfd;                   /* owned */
	struct launch *launch;       /* owned */
	struct kept_signals *kept;   /* owned; NULL where the kernel drops none of its signals */
	struct input *input;         /* owned */
	struct output *out, *errout; /* owned */
	int terminal;                /* owned; the master, for resizing; or -EBADF */
	bool has_terminal;
	struct pending_list waiters; /* owned; WaitProcess */
	int exit_code;               /* valid when EXITED */
	bool was_waited;
	process_fn on_event;
	void *userdata; /* borrowed */
};

static void set_state(struct process *process, enum process_state state)
{
	state_change(&process_states, process->id, process->state, state);
	process->state = state;
}

int process_exit_code(int status)
{
	return WIFSIGNALED(status) ? SIGNAL_STATUS + WTERMSIG(status) : WEXITSTATUS(status);
}

/* ---------------------------------------------------------------- events */

/* The master serves both ways; each way owns a descriptor of its own. */
static void attach_terminal(struct process *process, int master)
{
	_cleanup_close_ int fd = master;
	int in = fcntl(fd, F_DUPFD_CLOEXEC, 3), out = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (in >= 0)
		input_attach(process->input, in);
	else
		input_end(process->input);
	if (out >= 0)
		output_attach(process->out, out);
	else
		output_end(process->out);
	process->terminal = steal_fd(&fd);
}

static void on_launch(enum launch_event event, int terminal, struct error *err, void *userdata)
{
	struct process *process = userdata;

	switch (event) {
	case LAUNCH_READY:
		if (terminal >= 0)
			attach_terminal(process, terminal);
		set_state(process, PROCESS_READY);
		process->on_event(process, PROCESS_EVENT_READY, NULL, process->userdata);
		return;
	case LAUNCH_STARTED:
		set_state(process, PROCESS_RUNNING);
		if (process->kept)
			kept_signals_started(process->kept);
		process->on_event(process, PROCESS_EVENT_STARTED, NULL, process->userdata);
		return;
	case LAUNCH_FAILED:
		output_end(process->out);
		output_end(process->errout);
		process->on_event(process, PROCESS_EVENT_FAILED, err, process->userdata);
		return;
	}
}

static void answer(struct ttrpc_call *call, int exit_code)
{
	Grpc__WaitProcessResponse response = GRPC__WAIT_PROCESS_RESPONSE__INIT;

	response.status = exit_code;
	ttrpc_call_reply(call, &response.base);
}

static void on_exit_status(int status, void *userdata);

/* True where what has ended only made a container's world, and its first process goes on. */
static bool go_on(struct process *process)
{
	pid_t pid;
	int pidfd;

	if (!launch_go_on(process->launch, &pid, &pidfd))
		return false;
	close_fd(process->pidfd);
	process->pid = pid;
	process->pidfd = pidfd;
	reaper_add(process->agent->reaper, pid, on_exit_status, process);
	return true;
}

static void on_exit_status(int status, void *userdata)
{
	struct process *process = userdata;
	struct ttrpc_call *call;

	if (go_on(process))
		return;
	/* Its last words first: whether it was started is known before that it ended. */
	launch_drain(process->launch);
	process->exit_code = process_exit_code(status);
	kept_signals_free(steal_ptr(process->kept));
	process->pidfd = close_fd(process->pidfd);
	process->terminal = close_fd(process->terminal);
	set_state(process, PROCESS_EXITED);
	input_end(process->input);
	/* The owner first: why it has ended (out of memory) is known before that it has. */
	process->on_event(process, PROCESS_EVENT_EXITED, NULL, process->userdata);
	while ((call = pending_take(&process->waiters))) {
		process->was_waited = true;
		answer(call, process->exit_code);
	}
}

/* ---------------------------------------------------------------- life */

struct pipes {
	int ours[3], childs[3]; /* stdin, stdout, stderr */
};

static void pipes_done(struct pipes *pipes)
{
	for (int i = 0; i < 3; i++) {
		pipes->ours[i] = close_fd(pipes->ours[i]);
		pipes->childs[i] = close_fd(pipes->childs[i]);
	}
}

static int pipes_init(struct pipes *pipes, struct error *err)
{
	for (int i = 0; i < 3; i++) {
		int ends[2];
		if (pipe2(ends, O_CLOEXEC) < 0)
			return error_set_errno(err, errno, "cannot make a pipe");
		/* Of stdin we write, of the others we read. */
		pipes->ours[i] = i == 0 ? ends[1] : ends[0];
		pipes->childs[i] = i == 0 ? ends[0] : ends[1];
		if (i > 0)
			(void)fcntl(ends[0], F_SETPIPE_SZ, OUTPUT_PIPE_SIZE); /* or its own */
		int r = fd_set_nonblocking(pipes->ours[i]);
		if (r < 0)
			return error_set_errno(err, r, "cannot prepare a pipe");
	}
	return 0;
}

static int launch(struct process *process, const struct process_options *options, struct error *err)
{
	_cleanup_(pipes_done) struct pipes pipes = {
		.ours = { -EBADF, -EBADF, -EBADF },
		.childs = { -EBADF, -EBADF, -EBADF },
	};
	const struct launch_options launch_options = {
		.plan = options->plan,
		.clone_flags = options->clone_flags,
		.cgroup_fd = options->cgroup_fd,
		.fn = on_launch,
		.userdata = process,
	};
	int r = process->has_terminal ? 0 : pipes_init(&pipes, err);

	for (int i = 0; i < 3; i++)
		options->plan->stdio[i] = pipes.childs[i];
	if (r == 0)
		r = launch_new(process->agent->loop, &launch_options, &process->launch,
			       &process->pid, &process->pidfd, err);
	if (r < 0)
		return r;
	reaper_add(process->agent->reaper, process->pid, on_exit_status, process);
	if (options->clone_flags & CLONE_NEWPID)
		process->kept = kept_signals_new(process->agent->loop, process->pid,
						 process->pidfd);
	if (process->has_terminal) {
		output_end(process->errout);
		return 0;
	}
	if (options->plan->no_stdin)
		input_end(process->input);
	else
		input_attach(process->input, steal_fd(&pipes.ours[0]));
	output_attach(process->out, steal_fd(&pipes.ours[1]));
	output_attach(process->errout, steal_fd(&pipes.ours[2]));
	return 0;
}

int process_new(const struct process_options *options, struct process **ret, struct error *err)
{
	struct process *process = xnew(struct process);

	process->agent = options->agent;
	process->id = xstrdup(options->id);
	process->pidfd = process->terminal = -EBADF;
	process->input = input_new(options->agent->loop);
	process->out = output_new(options->agent->loop);
	process->errout = output_new(options->agent->loop);
	process->has_terminal = options->plan->process->process->terminal;
	process->on_event = options->on_event;
	process->userdata = options->userdata;
	pending_init(&process->waiters, NULL, NULL);

	int r = launch(process, options, err);

	if (r < 0) {
		process_free(process);
		return r;
	}
	*ret = process;
	return 0;
}

void process_free(struct process *process)
{
	struct ttrpc_call *call;

	if (!process)
		return;
	while ((call = pending_take(&process->waiters)))
		ttrpc_call_fail_code(call, TTRPC_CANCELLED, "the process was given up");
	if (process->pid > 0 && process->state != PROCESS_EXITED)
		reaper_remove(process->agent->reaper, process->pid);
	launch_free(process->launch);
	kept_signals_free(process->kept);
	input_free(process->input);
	output_free(process->out);
	output_free(process->errout);
	close_fd(process->terminal);
	close_fd(process->pidfd);
	free(process->id);
	free(process);
}

/* ---------------------------------------------------------------- what is asked of it */

int process_start(struct process *process, struct error *err)
{
	if (process->state != PROCESS_READY)
		return error_set(err, EBUSY, "process %s is %s, not ready to start", process->id,
				 process_state_to_string(process->state));

	int r = launch_go(process->launch);
	if (r < 0)
		return error_set_errno(err, r, "cannot start process %s", process->id);
	return 0;
}

int process_signal(struct process *process, int signo)
{
	if (process->state == PROCESS_EXITED)
		return -ESRCH;
	if (process->kept && signo != 0 && signo != SIGKILL && signo != SIGSTOP)
		return kept_signals_send(process->kept, signo);
	return syscall(SYS_pidfd_send_signal, process->pidfd, signo, NULL, 0) < 0 ? -errno : 0;
}

void process_wait(struct process *process, struct ttrpc_call *call)
{
	if (process->state == PROCESS_EXITED) {
		process->was_waited = true;
		answer(call, process->exit_code);
	} else if (pending_add(&process->waiters, WAITERS_MAX, call, NULL) < 0) {
		ttrpc_call_fail_code(call, TTRPC_RESOURCE_EXHAUSTED,
				     "%d calls wait for this process already", WAITERS_MAX);
	}
}

void process_write(struct process *process, struct ttrpc_call *call,
		   const Grpc__WriteStreamRequest *request)
{
	input_write(process->input, call, request);
}

struct output *process_stdout(struct process *process)
{
	return process->out;
}

struct output *process_stderr(struct process *process)
{
	return process->errout;
}

void process_close_stdin(struct process *process)
{
	input_close(process->input, process->has_terminal);
}

static void close_output(struct output *output, bool drop)
{
	if (drop)
		output_drop(output);
	else
		output_end(output);
}

void process_close_output(struct process *process, bool drop_stdout, bool drop_stderr)
{
	close_output(process->out, drop_stdout);
	close_output(process->errout, drop_stderr);
}

int process_resize(struct process *process, uint32_t rows, uint32_t columns)
{
	struct winsize window = {
		.ws_row = (unsigned short)rows,
		.ws_col = (unsigned short)columns,
	};

	if (process->terminal < 0)
		return -ENOTTY;
	return ioctl(process->terminal, TIOCSWINSZ, &window) < 0 ? -errno : 0;
}

const char *process_id(const struct process *process)
{
	return process->id;
}

enum process_state process_state(const struct process *process)
{
	return process->state;
}

pid_t process_pid(const struct process *process)
{
	return process->pid;
}

int process_pidfd(const struct process *process)
{
	return process->pidfd;
}

bool process_is_spent(const struct process *process)
{
	return process->state == PROCESS_EXITED && process->was_waited &&
	       output_has_ended(process->out) && output_has_ended(process->errout);
}
