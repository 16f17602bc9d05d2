#include "shim/console.h"

#include <signal.h>
#include <stdlib.h>

#include "base/audit.h"
#include "base/list.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "google/protobuf/empty.pb-c.h"
#include "proto/agent.pb-c.h"
#include "proto/ttrpc_server.h"
#include "shim/process.h"

#define KILL_TIMEOUT_MS 10000

struct program {
	TAILQ_ENTRY(program) link;
	struct console *console;       /* borrowed; NULL: forgotten while it was being started */
	const struct ttrpc_conn *conn; /* only to be compared */
	struct process *process;       /* owned */
	struct ttrpc_call *start;      /* Exec; NULL: answered */
	struct ttrpc_call *wait;       /* WaitExec; NULL: nobody waits */
	bool over;                     /* its end was told */
};

struct console {
	struct loop *loop;
	struct sandbox *sandbox;
	const char *ns;
	TAILQ_HEAD(program_list, program) programs; /* owned */
	struct loop_timer *sweeper;                 /* runs when one is over */
	uint64_t count;
};

static void program_free(struct program *program)
{
	if (program->wait) {
		process_wait_cancel(program->process, program);
		ttrpc_call_drop(program->wait);
	}
	process_end(program->process);
	process_unref(program->process);
	free(program);
}

/* What it does from now on is nobody's. While it is being started on_started() comes yet. */
static void program_forget(struct program *program)
{
	TAILQ_REMOVE(&program->console->programs, program, link);
	if (!program->start) {
		program_free(program);
		return;
	}
	program->console = NULL;
	ttrpc_call_drop(steal_ptr(program->start));
	process_end(program->process);
}

/* Not from within a callback of their streams'. */
static void sweep(void *userdata)
{
	struct console *console = userdata;
	struct program *program, *next;

	TAILQ_FOREACH_SAFE (program, &console->programs, link, next)
		if (program->over)
			program_forget(program);
}

struct console *console_new(struct loop *loop, struct sandbox *sandbox, const char *ns)
{
	struct console *console = xnew(struct console);

	console->loop = loop;
	console->sandbox = sandbox;
	console->ns = ns;
	console->sweeper = loop_timer_new(loop, sweep, console);
	TAILQ_INIT(&console->programs);
	return console;
}

void console_free(struct console *console)
{
	struct program *program, *next;

	TAILQ_FOREACH_SAFE (program, &console->programs, link, next)
		program_forget(program);
	loop_timer_free(console->sweeper);
	free(console);
}

static struct program *program_find(const struct console *console, struct ttrpc_call *call,
				    const char *exec_id)
{
	struct program *program;

	TAILQ_FOREACH (program, &console->programs, link)
		if (str_equal(process_exec_id(program->process), exec_id) &&
		    program->conn == ttrpc_call_conn(call))
			return program;
	ttrpc_call_fail_code(call, TTRPC_NOT_FOUND, "there is no program \"%.64s\"", exec_id);
	return NULL;
}

/* ---------------------------------------------------------------- its start */

static void on_started(int number, const struct error *err, void *userdata)
{
	Kiln__Shim__V1__ExecResponse response = KILN__SHIM__V1__EXEC_RESPONSE__INIT;
	struct program *program = userdata;
	struct ttrpc_call *call = steal_ptr(program->start);

	if (!program->console) {
		program_free(program);
	} else if (number < 0) {
		ttrpc_call_fail(call, err);
		program_forget(program);
	} else {
		response.exec_id = (char *)process_exec_id(program->process);
		ttrpc_call_reply(call, &response.base);
	}
}

static void audit(const struct console *console, struct ttrpc_call *call,
		  const Kiln__Shim__V1__ExecRequest *request)
{
	_cleanup_(strbuf_done) struct strbuf command = {};
	struct peer peer = AUDIT_NOBODY;

	if (ttrpc_call_peer(call, &peer) < 0)
		peer = AUDIT_NOBODY;
	for (size_t i = 0; i < request->n_args; i++)
		strbuf_addf(&command, "%s%s", i > 0 ? " " : "", request->args[i]);
	audit_exec(sandbox_id(console->sandbox), strbuf_text(&command), &peer);
}

static char **copy_strings(char *const *strings, size_t count)
{
	char **copy = xnew_array(char *, count + 1);

	for (size_t i = 0; i < count; i++)
		copy[i] = xstrdup(strings[i]);
	return copy;
}

/* What the agent is told of it. */
static Grpc__Process *process_spec(const Kiln__Shim__V1__ExecRequest *request)
{
	Grpc__Process *spec = xnew(Grpc__Process);

	grpc__process__init(spec);
	spec->args = copy_strings(request->args, request->n_args);
	spec->n_args = request->n_args;
	spec->env = copy_strings(request->env, request->n_env);
	spec->n_env = request->n_env;
	if (request->terminal) {
		spec->consolesize = xnew(Grpc__Box);
		grpc__box__init(spec->consolesize);
		spec->consolesize->width = request->width;
		spec->consolesize->height = request->height;
	}
	return spec;
}

void console_exec(struct console *console, struct ttrpc_call *call,
		  const Kiln__Shim__V1__ExecRequest *request)
{
	_cleanup_free_ char *exec_id = xasprintf("console-%lu", (unsigned long)++console->count);
	const struct process_options options = {
		.loop = console->loop,
		.agent = sandbox_agent(console->sandbox),
		.container_id = "",
		.exec_id = exec_id,
		.ns = console->ns,
		.stdio = { .in = xstrdup(request->stdin),
			   .out = xstrdup(request->stdout),
			   .err = xstrdup(request->stderr),
			   .terminal = request->terminal },
		.spec = process_spec(request),
	};
	_cleanup_(error_done) struct error err = {};
	struct process *process;

	audit(console, call, request);
	if (process_new(&options, &process, &err) < 0) {
		ttrpc_call_fail(call, &err);
		return;
	}

	struct program *program = xnew(struct program);

	program->console = console;
	program->conn = ttrpc_call_conn(call);
	program->process = process;
	program->start = call;
	TAILQ_INSERT_TAIL(&console->programs, program, link);
	process_start(process, on_started, program);
}

/* ---------------------------------------------------------------- what is asked of it */

static void on_waited(int number _unused_, const struct error *err _unused_, void *userdata)
{
	Kiln__Shim__V1__WaitExecResponse response = KILN__SHIM__V1__WAIT_EXEC_RESPONSE__INIT;
	struct program *program = userdata;

	response.exit_status = process_exit_status(program->process);
	ttrpc_call_reply(steal_ptr(program->wait), &response.base);
	program->over = true;
	loop_timer_start(program->console->sweeper, 0);
}

/* Its deadline has passed; or its connection has ended, of which console_hang_up() hears. */
static void on_wait_cancelled(struct ttrpc_call *call, void *userdata)
{
	struct program *program = userdata;

	process_wait_cancel(program->process, program);
	ttrpc_call_drop(call);
	program->wait = NULL;
}

void console_wait(struct console *console, struct ttrpc_call *call, const char *exec_id)
{
	struct program *program = program_find(console, call, exec_id);

	if (!program)
		return;
	if (program->wait) {
		ttrpc_call_fail_code(call, TTRPC_ALREADY_EXISTS, "somebody waits for it already");
		return;
	}
	program->wait = call;
	ttrpc_call_on_cancel(call, on_wait_cancelled, program);
	process_wait(program->process, on_waited, program);
}

static void on_resized(int number, const struct error *err, void *userdata)
{
	Google__Protobuf__Empty response = GOOGLE__PROTOBUF__EMPTY__INIT;

	if (number < 0)
		ttrpc_call_fail(userdata, err);
	else
		ttrpc_call_reply(userdata, &response.base);
}

void console_resize(struct console *console, struct ttrpc_call *call,
		    const Kiln__Shim__V1__ResizeExecRequest *request)
{
	struct program *program = program_find(console, call, request->exec_id);

	if (program)
		process_resize(program->process, request->width, request->height, on_resized, call);
}

void console_close_stdin(struct console *console, struct ttrpc_call *call, const char *exec_id)
{
	struct program *program = program_find(console, call, exec_id);

	if (!program)
		return;
	process_close_stdin(program->process);
	on_resized(0, NULL, call);
}

/* ---------------------------------------------------------------- its end */

/* Not process_kill(): a program that cannot be killed is no reason to give the guest up. */
static void program_kill(struct program *program)
{
	Grpc__SignalProcessRequest request = GRPC__SIGNAL_PROCESS_REQUEST__INIT;

	request.container_id = (char *)"";
	request.exec_id = (char *)process_exec_id(program->process);
	request.signal = SIGKILL;
	(void)agent_call(sandbox_agent(program->console->sandbox), "SignalProcess", &request.base,
			 KILL_TIMEOUT_MS, NULL, NULL);
}

void console_hang_up(struct console *console, const struct ttrpc_conn *conn)
{
	struct program *program, *next;

	TAILQ_FOREACH_SAFE (program, &console->programs, link, next) {
		if (program->conn != conn)
			continue;
		program_kill(program);
		program_forget(program);
	}
}

bool console_is_used(const struct console *console)
{
	return !TAILQ_EMPTY(&console->programs);
}

uint64_t console_count(const struct console *console)
{
	return console->count;
}
