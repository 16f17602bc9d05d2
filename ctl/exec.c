/* kiln-ctl exec SANDBOX [COMMAND...]. */
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/socket.h"
#include "base/strings.h"
#include "ctl/ctl.h"
#include "ctl/exec_streams.h"
#include "ctl/raw_terminal.h"
#include "ctl/sandbox_args.h"
#include "proto/operator.pb-c.h"
#include "proto/ttrpc_client.h"

enum {
	CTL_EXEC_FAILED = 255, /* the program has no status to be passed on */
	START_TIMEOUT_MS = 60000,
	SIGNAL_STATUS = 128,
};

#define PATH_VARIABLE "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static const struct option option_table[] = {
	{ "help", no_argument, NULL, 'h' },
	{},
};

struct session {
	struct loop *loop;
	struct ttrpc_client *client;
	char *exec_id; /* owned; NULL: it does not run yet */
	struct exec_streams streams;
	bool terminal;
	int signo; /* that has ended this; 0: none */
};

static void session_done(struct session *session)
{
	exec_streams_done(&session->streams);
	ttrpc_client_free(session->client);
	loop_free(session->loop);
	free(session->exec_id);
}

/* ---------------------------------------------------------------- what happens meanwhile */

static struct ttrpc_call_options call_options(const char *method, const ProtobufCMessage *request)
{
	return (struct ttrpc_call_options){
		.service = &kiln__shim__v1__operator__descriptor,
		.method = method,
		.request = request,
	};
}

static void tell(struct session *session, const char *method, const ProtobufCMessage *request)
{
	const struct ttrpc_call_options options = call_options(method, request);

	(void)ttrpc_client_call(session->client, &options);
}

static void on_input_end(void *userdata)
{
	Kiln__Shim__V1__CloseExecStdinRequest request =
		KILN__SHIM__V1__CLOSE_EXEC_STDIN_REQUEST__INIT;
	struct session *session = userdata;

	request.exec_id = session->exec_id;
	tell(session, "CloseExecStdin", &request.base);
}

static void on_resized(int signo _unused_, void *userdata)
{
	Kiln__Shim__V1__ResizeExecRequest request = KILN__SHIM__V1__RESIZE_EXEC_REQUEST__INIT;
	struct session *session = userdata;

	request.exec_id = session->exec_id;
	raw_terminal_size(&request.width, &request.height);
	tell(session, "ResizeExec", &request.base);
}

/* The program ends with the connection. */
static void on_interrupt(int signo, void *userdata)
{
	struct session *session = userdata;

	session->signo = signo;
	loop_stop(session->loop);
}

/* ---------------------------------------------------------------- one program */

static int start(struct session *session, char **command, size_t count, struct error *err)
{
	_cleanup_free_ char *in = exec_streams_path(&session->streams, 0);
	_cleanup_free_ char *out = exec_streams_path(&session->streams, 1);
	_cleanup_free_ char *errout = exec_streams_path(&session->streams, 2);
	const char *term = getenv("TERM");
	_cleanup_free_ char *term_variable = xasprintf("TERM=%s", term ? term : "dumb");
	char *env[] = { (char *)PATH_VARIABLE, term_variable };
	Kiln__Shim__V1__ExecRequest request = KILN__SHIM__V1__EXEC_REQUEST__INIT;
	struct ttrpc_call_options options = call_options("Exec", &request.base);
	ProtobufCMessage *response;

	request.args = command;
	request.n_args = count;
	request.env = env;
	request.n_env = session->terminal ? 2 : 1;
	request.terminal = session->terminal;
	if (session->terminal)
		raw_terminal_size(&request.width, &request.height);
	request.stdin = in;
	request.stdout = out;
	request.stderr = errout;
	options.timeout_ms = START_TIMEOUT_MS;

	int r = ttrpc_client_call_wait(session->client, session->loop, &options, &response, NULL,
				       NULL, err);
	if (r < 0)
		return r;
	session->exec_id = xstrdup(((Kiln__Shim__V1__ExecResponse *)response)->exec_id);
	protobuf_c_message_free_unpacked(response, NULL);
	return exec_streams_start(&session->streams, on_input_end, session, err);
}

static int wait_for_end(struct session *session, struct error *err)
{
	Kiln__Shim__V1__WaitExecRequest request = KILN__SHIM__V1__WAIT_EXEC_REQUEST__INIT;
	struct ttrpc_call_options options = call_options("WaitExec", &request.base);
	struct loop_signal *resized = NULL;
	struct raw_terminal terminal = {};
	ProtobufCMessage *response;
	int status = -ECANCELED;

	request.exec_id = session->exec_id;
	if (session->terminal) {
		raw_terminal_begin(&terminal);
		resized = loop_signal_new(session->loop, SIGWINCH, on_resized, session);
		on_resized(SIGWINCH, session); /* since its start */
	}
	int r = ttrpc_client_call_wait(session->client, session->loop, &options, &response, NULL,
				       NULL, err);
	if (r == 0) {
		status = (int)((Kiln__Shim__V1__WaitExecResponse *)response)->exit_status & 0xff;
		protobuf_c_message_free_unpacked(response, NULL);
		exec_streams_drain(&session->streams);
	}
	loop_signal_free(resized);
	raw_terminal_end(&terminal);
	if (session->streams.failed < 0)
		return error_set_errno(err, session->streams.failed, "cannot write the output");
	return r < 0 ? r : status;
}

static int run_program(const struct sandbox *sandbox, char **command, size_t count)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	_cleanup_(session_done) struct session session = { .terminal = raw_terminal_is_there() };
	struct loop_signal *watches[ARRAY_SIZE(signals)];
	_cleanup_(error_done) struct error err = {};
	int fd, r = 0;

	session.loop = loop_new();
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		watches[i] = loop_signal_new(session.loop, signals[i], on_interrupt, &session);
	r = exec_streams_open(session.loop, session.terminal, &session.streams, &err);
	if (r == 0)
		r = socket_connect(sandbox->socket, &fd, &err);
	if (r == 0) {
		session.client = ttrpc_client_new(session.loop, fd, NULL);
		r = start(&session, command, count, &err);
	}
	if (r == 0)
		r = wait_for_end(&session, &err);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		loop_signal_free(watches[i]);
	if (r >= 0)
		return r;
	if (session.signo != 0)
		return SIGNAL_STATUS + session.signo;
	(void)error_wrap(&err, "sandbox %s", sandbox->id);
	(void)ctl_fail(&err);
	return CTL_EXEC_FAILED;
}

/* "+": what follows the sandbox are the program's options. */
static int exec_run(int argc, char **argv)
{
	_cleanup_(sandboxes_done) struct sandboxes sandboxes = {};
	const struct sandbox *sandbox;

	optind = 0;
	int c = getopt_long(argc, argv, "+:h", option_table, NULL);
	if (c != -1)
		return c == 'h' ? ctl_help(&ctl_exec) : ctl_usage_option(&ctl_exec, c, argv);
	if (optind == argc)
		return ctl_usage(&ctl_exec, "which sandbox?");

	const struct sandbox_args find = { .words = argv + optind, .nwords = 1 };
	char **command = argv + optind + 1;

	if (str_equal(*command, "--"))
		command++;
	if (sandbox_args_find(&find, &sandboxes, &sandbox) != CTL_OK)
		return CTL_EXEC_FAILED;
	return run_program(sandbox, command, (size_t)(argv + argc - command));
}

const struct ctl_command ctl_exec = {
	.name = "exec",
	.usage = "kiln-ctl exec SANDBOX [[--] COMMAND [ARGUMENT...]]",
	.summary = "a program in the root of a sandbox's guest",
	.help = "Runs a program in the root of the sandbox's guest itself, in none of its containers, as\n"
		"root: without COMMAND its shell, /bin/sh. Its template has to allow that\n"
		"(\"debug_console\"), and its root image to have programs (docs/CTL.md). The program has a\n"
		"terminal where standard input and output are one. It is killed when kiln-ctl ends, and\n"
		"each call is a line of the record.\n\n"
		"The exit status is the program's, or 128 and the signal that has ended it; 255 where\n"
		"there is none: no such sandbox, no console allowed, the sandbox ended; 2 where the\n"
		"command line is wrong.\n\n"
		"Options:\n"
		"  -h, --help            this text\n",
	.options = option_table,
	.run = exec_run,
};
