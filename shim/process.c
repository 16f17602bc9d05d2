#include "shim/process.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/param.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/trace.h"
#include "proto/agent.pb-c.h"
#include "proto/guest.pb-c.h"
#include "shim/process_events.h"

#define START_TIMEOUT_MS 60000
#define CALL_TIMEOUT_MS  10000
#define KILL_MARGIN_MS   1000 /* after kill_s, at which a guest is given up */

static const char *const process_state_names[] = {
	[PROCESS_CREATED] = "created", [PROCESS_STARTING] = "starting",
	[PROCESS_RUNNING] = "running", [PROCESS_EXITED] = "exited",
	[PROCESS_STOPPED] = "stopped",
};
DEFINE_STRING_TABLE(process_state, enum process_state, process_state_names)

static const unsigned process_next[] = {
	[PROCESS_CREATED] = STATE(PROCESS_STARTING) | STATE(PROCESS_EXITED),
	[PROCESS_STARTING] = STATE(PROCESS_RUNNING) | STATE(PROCESS_STOPPED),
	[PROCESS_RUNNING] = STATE(PROCESS_EXITED),
	[PROCESS_EXITED] = STATE(PROCESS_STOPPED),
	[PROCESS_STOPPED] = 0,
};
const struct state_machine process_states = STATE_MACHINE("process", process_state_names,
							  process_next);

struct process {
	unsigned refs;
	struct loop *loop;
	struct agent_link *agent;
	struct events *events;
	char *container_id;
	char *exec_id;
	struct stdio stdio;
	Grpc__Process *spec; /* exec, until it is started */
	uint32_t pid;
	uint64_t kill_s;
	bool is_stand_in;
	void (*on_running)(void *userdata);
	void *userdata;
	struct loop_timer *kill_timer; /* since SIGKILL, until the exit is known; NULL: none */
	enum process_state state;
	struct io *io; /* NULL after process_end() */
	bool exit_known;
	uint32_t exit_status;
	uint64_t exited_ns;
	struct trace_span span; /* of the first process' start, then of its running */
	uint64_t used_ms;       /* when it was made, or asked to start */
	bool exit_due;          /* to be published; not for an exec that never ran */
	struct waiters waiters;
};

/* An operation in flight: holds the process and whom to tell. */
struct operation {
	struct process *process;
	process_done_fn done;
	void *userdata;
	struct error err; /* of one that was never sent */
};

Containerd__V1__Types__Status process_state_status(enum process_state state)
{
	static const Containerd__V1__Types__Status statuses[] = {
		[PROCESS_CREATED] = CONTAINERD__V1__TYPES__STATUS__CREATED,
		[PROCESS_STARTING] = CONTAINERD__V1__TYPES__STATUS__CREATED,
		[PROCESS_RUNNING] = CONTAINERD__V1__TYPES__STATUS__RUNNING,
		[PROCESS_EXITED] = CONTAINERD__V1__TYPES__STATUS__RUNNING,
		[PROCESS_STOPPED] = CONTAINERD__V1__TYPES__STATUS__STOPPED,
	};

	return statuses[state];
}

static void set_state(struct process *process, enum process_state state)
{
	state_change(&process_states, *process->exec_id ? process->exec_id : process->container_id,
		     process->state, state);
	process->state = state;
	if (state == PROCESS_RUNNING && process->events)
		process_publish_start(process->events, process, process->container_id);
	if (state == PROCESS_EXITED && process->io)
		io_settle(process->io);
	if (state == PROCESS_STOPPED) {
		if (process->exit_due && process->events)
			process_publish_exit(process->events, process, process->container_id);
		waiters_answer(&process->waiters, 0, NULL);
	}
}

static void on_settled(void *userdata)
{
	set_state(userdata, PROCESS_STOPPED);
}

static void set_exit(struct process *process, uint32_t status)
{
	if (process->exit_known)
		return;
	loop_timer_free(steal_ptr(process->kill_timer));
	process->exit_known = true;
	process->exit_status = status;
	process->exited_ns = clock_realtime_ns();
}

/* STARTING waits for the answer to its start first: TaskStart comes before TaskExit. */
static void exit_check(struct process *process)
{
	if (process->exit_known &&
	    (process->state == PROCESS_CREATED || process->state == PROCESS_RUNNING))
		set_state(process, PROCESS_EXITED);
}

static void on_exit_known(const struct ttrpc_reply *reply, void *userdata)
{
	_cleanup_(process_unref_cleanup) struct process *process = userdata;
	const Grpc__WaitProcessResponse *response =
		(const Grpc__WaitProcessResponse *)reply->response;

	if (!process->io)
		return;
	if (!response && reply->code != TTRPC_UNAVAILABLE && reply->code != TTRPC_CANCELLED)
		log_warning(process->container_id, "process \"%s\" is lost: %s", process->exec_id,
			    reply->message);
	set_exit(process, response ? (uint32_t)response->status & 0xff : PROCESS_LOST_STATUS);
	trace_end(TRACE_EXIT, NULL, &process->span);
	exit_check(process);
}

static void watch_exit(struct process *process)
{
	Grpc__WaitProcessRequest request = GRPC__WAIT_PROCESS_REQUEST__INIT;

	request.container_id = process->container_id;
	request.exec_id = process->exec_id;
	agent_call(process->agent, "WaitProcess", &request.base, 0, on_exit_known,
		   process_ref(process));
}

int process_new(const struct process_options *options, struct process **ret_process,
		struct error *err)
{
	struct process *process = xnew(struct process);
	struct io_options io_options;
	int r;

	*process = (struct process){
		.refs = 1,
		.loop = options->loop,
		.agent = options->agent,
		.events = options->events,
		.container_id = xstrdup(options->container_id),
		.exec_id = xstrdup(options->exec_id),
		.stdio = options->stdio,
		.spec = options->spec,
		.pid = options->pid,
		.kill_s = options->kill_s,
		.is_stand_in = options->is_stand_in,
		.on_running = options->on_running,
		.userdata = options->userdata,
		.state = PROCESS_CREATED,
	};
	io_options = (struct io_options){
		.loop = options->loop,
		.agent = options->agent,
		.container_id = process->container_id,
		.exec_id = process->exec_id,
		.ns = options->ns,
		.stdio = &process->stdio,
		.on_settled = on_settled,
		.userdata = process,
	};
	r = io_open(&io_options, &process->io, err);
	if (r < 0) {
		process_unref(process);
		return r;
	}
	*ret_process = process;
	return 0;
}

struct process *process_ref(struct process *process)
{
	process->refs++;
	return process;
}

static void process_free(void *userdata)
{
	struct process *process = userdata;

	io_end(process->io);
	loop_timer_free(process->kill_timer);
	if (process->spec)
		grpc__process__free_unpacked(process->spec, NULL);
	stdio_done(&process->stdio);
	free(process->container_id);
	free(process->exec_id);
	free(process);
}

void process_unref(struct process *process)
{
	if (process && --process->refs == 0)
		loop_defer(process->loop, process_free, process);
}

void process_created(struct process *process, uint32_t pid)
{
	process->pid = pid;
	process->exit_due = true;
	if (!process->is_stand_in)
		watch_exit(process);
}

static struct operation *operation_new(struct process *process, process_done_fn done,
				       void *userdata)
{
	struct operation *operation = xnew(struct operation);

	operation->process = process_ref(process);
	operation->done = done;
	operation->userdata = userdata;
	return operation;
}

static void operation_end(struct operation *operation, const struct error *err)
{
	operation->done(err->number ? -err->number : 0, err, operation->userdata);
	process_unref(operation->process);
	error_done(&operation->err);
	free(operation);
}

static void on_decided(void *userdata)
{
	struct operation *operation = userdata;

	operation_end(operation, &operation->err);
}

/* The answer is known without the agent. */
static void decide(struct process *process, struct error *err, process_done_fn done, void *userdata)
{
	struct operation *operation = operation_new(process, done, userdata);

	error_move(&operation->err, err);
	loop_defer(process->loop, on_decided, operation);
}

/* why NULL: it runs. */
static void end_start(struct process *process, const char *why)
{
	trace_end_as(TRACE_START_CONTAINER, NULL, &process->span,
		     &(struct trace_detail){ .container = process->container_id, .error = why });
	process->span = (struct trace_span){};
}

static void started(struct process *process)
{
	process->exit_due = true;
	if (process->spec)
		watch_exit(process);
	else
		end_start(process, NULL);
	struct trace_span output = {};
	if (!process->spec) {
		process->span = trace_begin();
		output = trace_begin();
	}
	set_state(process, PROCESS_RUNNING);
	if (!process->is_stand_in)
		io_start(process->io, &output);
	if (process->on_running)
		process->on_running(process->userdata);
	exit_check(process);
}

/* Its streams end here too, for clients wait for that before they delete the process. */
static void start_failed(struct process *process, const struct error *err)
{
	end_start(process, error_message(err));
	process->exit_due = false;
	set_exit(process, PROCESS_LOST_STATUS);
	io_end(steal_ptr(process->io));
	set_state(process, PROCESS_STOPPED);
}

/* An exec that nobody has any more, which the guest has started all the same. Its end is waited
 * for, so that the guest forgets it. */
static void kill_late(struct process *process)
{
	Grpc__SignalProcessRequest request = GRPC__SIGNAL_PROCESS_REQUEST__INIT;

	request.container_id = process->container_id;
	request.exec_id = process->exec_id;
	request.signal = SIGKILL;
	agent_call(process->agent, "SignalProcess", &request.base, CALL_TIMEOUT_MS, NULL, NULL);
	watch_exit(process);
}

static void on_started(const struct ttrpc_reply *reply, void *userdata)
{
	struct operation *operation = userdata;
	struct process *process = operation->process;
	bool is_late = !process->io; /* process_end() came first */
	_cleanup_(error_done) struct error err = {};

	if (ttrpc_reply_error(reply, &err) < 0 && *process->container_id)
		(void)error_wrap(&err, "OCI runtime %s failed", process->spec ? "exec" : "start");
	if (is_late && reply->code == TTRPC_OK) {
		(void)error_set(&err, ECANCELED, "the process was ended before it ran");
		if (process->spec)
			kill_late(process);
	}
	if (process->state == PROCESS_STARTING && reply->code == TTRPC_OK && !is_late)
		started(process);
	else if (process->state == PROCESS_STARTING)
		start_failed(process, &err);
	operation_end(operation, &err);
}

static void start_init(struct process *process, struct operation *operation)
{
	Grpc__StartContainerRequest request = GRPC__START_CONTAINER_REQUEST__INIT;

	request.container_id = process->container_id;
	process->span = trace_begin();
	struct trace_context outer = trace_enter(&process->span.self);
	agent_call(process->agent, "StartContainer", &request.base, START_TIMEOUT_MS, on_started,
		   operation);
	(void)trace_enter(&outer);
}

static void on_stand_in_started(void *userdata)
{
	static const struct ttrpc_reply ok = { .code = TTRPC_OK };

	on_started(&ok, userdata);
}

static void start_exec(struct process *process, struct operation *operation)
{
	Grpc__ExecProcessRequest request = GRPC__EXEC_PROCESS_REQUEST__INIT;

	process->spec->terminal = process->stdio.terminal;
	request.container_id = process->container_id;
	request.exec_id = process->exec_id;
	request.process = process->spec;
	request.no_stdin = str_empty(process->stdio.in);
	agent_call(process->agent, "ExecProcess", &request.base, START_TIMEOUT_MS, on_started,
		   operation);
}

static int start_check(const struct process *process, struct error *err)
{
	if (process->state != PROCESS_CREATED)
		return error_set(err, EBUSY, "cannot start a process that is %s",
				 process_state_to_string(process->state));
	return FAULT_ERROR("process.starting", err);
}

void process_start(struct process *process, process_done_fn done, void *userdata)
{
	struct operation *operation;
	struct error err = {};

	if (start_check(process, &err) < 0) {
		decide(process, &err, done, userdata);
		return;
	}
	operation = operation_new(process, done, userdata);
	process->used_ms = clock_monotonic_ms();
	set_state(process, PROCESS_STARTING);
	if (process->is_stand_in)
		loop_defer(process->loop, on_stand_in_started, operation);
	else if (process->spec)
		start_exec(process, operation);
	else
		start_init(process, operation);
}

static void on_answered(const struct ttrpc_reply *reply, void *userdata)
{
	_cleanup_(error_done) struct error err = {};

	(void)ttrpc_reply_error(reply, &err);
	operation_end(userdata, &err);
}

static void on_kill_timeout(void *userdata)
{
	struct process *process = userdata;

	log_warning(process->container_id, "process \"%s\" has not ended %lu s after SIGKILL",
		    process->exec_id, (unsigned long)process->kill_s);
	loop_timer_free(steal_ptr(process->kill_timer));
	agent_link_give_up(process->agent);
}

static void await_killed(struct process *process)
{
	if (process->kill_timer || process->exit_known)
		return;
	process->kill_timer = loop_timer_new(process->loop, on_kill_timeout, process);
	loop_timer_start(process->kill_timer, process->kill_s * 1000);
}

/* What was lost with its machine meanwhile has been killed. An exec that the guest does not have
 * yet goes on, and owes no exit; else "process already finished" are runc's words, by which clients
 * know that there is nothing left to do. To one that has ended the guest answers OK, as for kill(2)
 * of a process that nobody has waited for: kill_check() knows who was. */
static void on_signalled(const struct ttrpc_reply *reply, void *userdata)
{
	struct operation *operation = userdata;
	struct process *process = operation->process;
	_cleanup_(error_done) struct error err = {};

	if (reply->code == TTRPC_NOT_FOUND)
		(void)error_set(&err, ESRCH, "process already finished");
	else if (!process->exit_known)
		(void)ttrpc_reply_error(reply, &err);
	if (reply->code == TTRPC_NOT_FOUND && process->state == PROCESS_STARTING)
		loop_timer_free(steal_ptr(process->kill_timer));
	operation_end(operation, &err);
}

static int kill_check(const struct process *process, uint32_t signo, struct error *err)
{
	if (signo > (uint32_t)SIGRTMAX)
		return error_set(err, EINVAL, "there is no signal %u", signo);
	if (process->exit_known || process->state == PROCESS_EXITED ||
	    process->state == PROCESS_STOPPED)
		return error_set(err, ESRCH, "process already finished");
	if (process->state == PROCESS_CREATED && process->spec)
		return error_set(err, EBUSY, "process not created");
	return FAULT_ERROR("process.signalling", err);
}

/* What a pause program does. */
static void signal_stand_in(struct process *process, uint32_t signo)
{
	if (signo == SIGKILL)
		process_lost(process, PROCESS_KILLED_STATUS);
	else if (signo == SIGTERM || signo == SIGINT)
		process_lost(process, 0);
}

/* An empty exec id reaches all processes of the container; its first one is named by its id. */
static void signal_guest(struct process *process, uint32_t signo, bool all, uint64_t timeout_ms,
			 struct operation *operation)
{
	Grpc__SignalProcessRequest request = GRPC__SIGNAL_PROCESS_REQUEST__INIT;

	request.container_id = process->container_id;
	if (!all)
		request.exec_id = *process->exec_id ? process->exec_id : process->container_id;
	request.signal = signo;
	agent_call(process->agent, "SignalProcess", &request.base, timeout_ms, on_signalled,
		   operation);
}

/* What asks a process to end, and ends one that does not listen: before its start nobody does, and
 * CRI-O waits for such an end. */
static bool asks_to_end(uint32_t signo)
{
	return signo == SIGTERM || signo == SIGINT || signo == SIGHUP || signo == SIGQUIT;
}

void process_kill(struct process *process, uint32_t signo, bool all, process_done_fn done,
		  void *userdata)
{
	struct error err = {};

	if (kill_check(process, signo, &err) < 0) {
		decide(process, &err, done, userdata);
		return;
	}
	if (process->is_stand_in) {
		signal_stand_in(process, signo);
		decide(process, &err, done, userdata);
		return;
	}
	if (process->state == PROCESS_CREATED && asks_to_end(signo))
		signo = SIGKILL;
	if (signo == SIGKILL)
		await_killed(process);
	signal_guest(process, signo, all,
		     signo == SIGKILL ? process->kill_s * 1000 + KILL_MARGIN_MS : CALL_TIMEOUT_MS,
		     operation_new(process, done, userdata));
}

/* An exec that is not started yet gets its size with its start. */
static void remember_size(Grpc__Process *spec, uint32_t width, uint32_t height)
{
	if (!spec->consolesize) {
		spec->consolesize = xnew(Grpc__Box);
		grpc__box__init(spec->consolesize);
	}
	spec->consolesize->width = width;
	spec->consolesize->height = height;
}

/* Without a terminal there is nothing to be done, and as by runc's shim that is no error. */
void process_resize(struct process *process, uint32_t width, uint32_t height, process_done_fn done,
		    void *userdata)
{
	Grpc__TtyWinResizeRequest request = GRPC__TTY_WIN_RESIZE_REQUEST__INIT;
	struct error err = {};

	if (process->state >= PROCESS_EXITED)
		(void)error_set(&err, EBUSY, "the process has ended");
	if (process->state >= PROCESS_EXITED || !process->stdio.terminal) {
		decide(process, &err, done, userdata);
		return;
	}
	if (process->spec && process->state == PROCESS_CREATED) {
		remember_size(process->spec, width, height);
		decide(process, &err, done, userdata);
		return;
	}
	request.container_id = process->container_id;
	request.exec_id = process->exec_id;
	request.row = height;
	request.column = width;
	agent_call(process->agent, "TtyWinResize", &request.base, CALL_TIMEOUT_MS, on_answered,
		   operation_new(process, done, userdata));
}

void process_close_stdin(struct process *process)
{
	if (process->io)
		io_close_stdin(process->io);
}

void process_wait(struct process *process, waiter_fn fn, void *userdata)
{
	if (process->state == PROCESS_STOPPED)
		fn(0, NULL, userdata);
	else
		waiters_add(&process->waiters, fn, userdata);
}

void process_wait_cancel(struct process *process, void *userdata)
{
	waiters_remove(&process->waiters, userdata);
}

uint64_t process_used_ms(const struct process *process)
{
	bool runs = process->state == PROCESS_STARTING || process->state == PROCESS_RUNNING;
	uint64_t progress_ms = process->io ? io_progress_ms(process->io) : 0;

	if (*process->exec_id && runs)
		return clock_monotonic_ms();
	return MAX(process->used_ms, progress_ms);
}

void process_lost(struct process *process, uint32_t exit_status)
{
	if (process->state == PROCESS_STOPPED)
		return;
	set_exit(process, exit_status);
	exit_check(process);
}

void process_close_output(struct process *process)
{
	Kiln__Guest__V1__CloseOutputRequest request = KILN__GUEST__V1__CLOSE_OUTPUT_REQUEST__INIT;
	const struct stdio *stdio = &process->stdio;

	if (!process->io || io_outputs_ended(process->io))
		return;
	request.container_id = process->container_id;
	request.exec_id = process->exec_id;
	request.drop_stdout = str_empty(stdio->out) && !stdio->terminal;
	request.drop_stderr = str_empty(stdio->err);
	agent_call_service(process->agent, &kiln__guest__v1__guest__descriptor, "CloseOutput",
			   &request.base, CALL_TIMEOUT_MS, NULL, NULL);
}

void process_end(struct process *process)
{
	io_end(steal_ptr(process->io));
	loop_timer_free(steal_ptr(process->kill_timer));
	set_exit(process, PROCESS_LOST_STATUS);
	exit_check(process);
	if (process->state == PROCESS_EXITED)
		set_state(process, PROCESS_STOPPED);
	waiters_answer(&process->waiters, 0, NULL);
}

enum process_state process_state(const struct process *process)
{
	return process->state;
}

const char *process_exec_id(const struct process *process)
{
	return process->exec_id;
}

const struct stdio *process_stdio(const struct process *process)
{
	return &process->stdio;
}

uint32_t process_pid(const struct process *process)
{
	return process->pid;
}

uint32_t process_exit_status(const struct process *process)
{
	return process->exit_status;
}

uint64_t process_exited_ns(const struct process *process)
{
	return process->exited_ns;
}
