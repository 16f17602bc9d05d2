#include "agent/console.h"

#include "agent/agent.h"
#include "base/list.h"
#include "base/memory.h"
#include "proto/ttrpc_server.h"

#define CONSOLE_SHELL "/bin/sh"

enum { PROGRAMS_MAX = 16 };

/* One program, and the call that started it. */
struct program {
	TAILQ_ENTRY(program) link;
	struct console *console; /* borrowed */
	struct process *process; /* owned */
	struct ttrpc_call *call; /* ExecProcess, or NULL */
	struct error failure;    /* owned; why it never ran */
};

struct console {
	struct agent *agent; /* borrowed */
	bool allowed;
	TAILQ_HEAD(program_list, program) programs; /* owned */
	size_t count;
};

struct console *console_new(struct agent *agent, bool allowed)
{
	struct console *console = xnew(struct console);

	console->agent = agent;
	console->allowed = allowed;
	TAILQ_INIT(&console->programs);
	return console;
}

static void program_leave(struct program *program)
{
	/* The analyzer does not follow TAILQ_REMOVE.
	 * NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
	TAILQ_REMOVE(&program->console->programs, program, link);
	program->console->count--;
}

static void program_free(void *userdata)
{
	struct program *program = userdata;

	if (program->call)
		ttrpc_call_drop(program->call);
	process_free(program->process);
	error_done(&program->failure);
	free(program);
}

void console_free(struct console *console)
{
	struct program *program;

	if (!console)
		return;
	while ((program = TAILQ_FIRST(&console->programs))) {
		program_leave(program);
		program_free(program);
	}
	free(console);
}

static struct program *program_find(const struct console *console, const char *exec_id)
{
	struct program *program;

	TAILQ_FOREACH (program, &console->programs, link)
		if (str_equal(process_id(program->process), exec_id))
			return program;
	return NULL;
}

struct process *console_find(const struct console *console, const char *exec_id)
{
	const struct program *program = program_find(console, exec_id);

	return program ? program->process : NULL;
}

/* It never ran: when the caller hears of it, its id is free again. */
static void forget_failed(struct program *program)
{
	program_leave(program);
	ttrpc_call_fail(steal_ptr(program->call), &program->failure);
	/* Not before its callbacks are over. */
	loop_defer(program->console->agent->loop, program_free, program);
}

static void on_event(struct process *process _unused_, enum process_event event, struct error *err,
		     void *userdata)
{
	Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
	struct program *program = userdata;

	switch (event) {
	case PROCESS_EVENT_READY:
		return;
	case PROCESS_EVENT_STARTED:
		ttrpc_call_reply(steal_ptr(program->call), &empty.base);
		return;
	case PROCESS_EVENT_FAILED:
		error_move(&program->failure, err);
		return;
	case PROCESS_EVENT_EXITED:
		if (program->call)
			forget_failed(program);
		return;
	}
}

/* Forgets the program that had this id, those of which nothing is wanted any more, and, where there
 * is no room, those that nobody asks: their callers were killed. */
static void forget_ended(struct console *console, const char *exec_id)
{
	bool full = console->count >= PROGRAMS_MAX;
	struct program *program, *next;

	TAILQ_FOREACH_SAFE (program, &console->programs, link, next) {
		if (process_state(program->process) != PROCESS_EXITED || program->call)
			continue;
		if (full || process_is_spent(program->process) ||
		    str_equal(process_id(program->process), exec_id)) {
			program_leave(program);
			program_free(program);
		}
	}
}

static int claim_id(struct console *console, const char *exec_id, struct error *err)
{
	if (!console->allowed)
		return error_set(err, EPERM,
				 "the template of this guest allows no debug console "
				 "(\"debug_console\" of its definition)");
	if (!id_is_valid(exec_id))
		return error_set(err, EINVAL, "the exec id is not valid");
	forget_ended(console, exec_id);
	if (program_find(console, exec_id))
		return error_set(err, EEXIST, "program %s of the debug console exists already",
				 exec_id);
	if (console->count >= PROGRAMS_MAX)
		return error_set(err, EAGAIN, "the debug console has %d programs already",
				 PROGRAMS_MAX);
	return 0;
}

static int start(struct console *console, struct ttrpc_call *call,
		 const Grpc__ExecProcessRequest *request, struct error *err)
{
	static char *shell[] = { (char *)CONSOLE_SHELL, NULL };
	static const struct seccomp_program no_filter;
	_cleanup_(process_plan_done) struct process_plan plan = {};
	struct child_plan child = {
		.process = &plan,
		.filter = &no_filter,
		.join_pidfd = -EBADF,
		.no_stdin = request->no_stdin,
	};
	Grpc__Process asked = GRPC__PROCESS__INIT;

	if (request->process)
		asked = *request->process;
	if (asked.n_args == 0) {
		asked.args = shell;
		asked.n_args = 1;
	}
	int r = process_plan_init(&asked, NULL, &plan, err);
	if (r < 0)
		return r;
	r = caps_own(&plan.caps);
	if (r < 0)
		return error_set_errno(err, r, "cannot read the agent's capabilities");

	struct program *program = xnew(struct program);
	const struct process_options options = {
		.agent = console->agent,
		.id = request->exec_id,
		.plan = &child,
		.cgroup_fd = -EBADF,
		.on_event = on_event,
		.userdata = program,
	};
	program->console = console;
	r = process_new(&options, &program->process, err);
	if (r < 0) {
		free(program);
		return r;
	}
	program->call = call;
	TAILQ_INSERT_TAIL(&console->programs, program, link);
	console->count++;
	return 0;
}

void console_exec(struct console *console, struct ttrpc_call *call,
		  const Grpc__ExecProcessRequest *request)
{
	_cleanup_(error_done) struct error err = {};
	int r = claim_id(console, request->exec_id, &err);

	if (r == 0)
		r = start(console, call, request, &err);
	if (r < 0)
		ttrpc_call_fail(call, &err);
}
