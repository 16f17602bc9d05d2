/* kiln-ctl agent: one or more requests to an agent, answers as JSON. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"
#include "ctl/agent_channel.h"
#include "ctl/agent_request.h"
#include "ctl/ctl.h"
#include "ctl/factory_link.h"
#include "proto/pbjson.h"

#define REQUESTS_MAX   256
#define FILE_BYTES_MAX (8u << 20)

struct agent_args {
	struct channel_options channel;
	struct agent_request requests[REQUESTS_MAX]; /* in the order they are made */
	size_t count;
	uint32_t repeat; /* 1 or more: how many times all of them */
	bool keep_going; /* after a request that failed */
	bool help;
	bool list;
};

/* One run of the command. A signal ends the request under way, so that a claimed machine is
 * given back; a second one ends the program. */
struct session {
	struct loop *loop;
	struct agent_channel channel;
	struct loop_signal *signals[2];
	int signo; /* 0: none came */
	bool done; /* the request under way is answered, or a signal came */
	/* The answer: */
	bool answered;
	enum ttrpc_code code;
	char *message;
	json_t *response;
};

/* ---------------------------------------------------------------- requests */

static void on_reply(const struct ttrpc_reply *reply, void *userdata)
{
	struct session *session = userdata;

	session->code = reply->code;
	replace_string(&session->message, reply->message);
	if (reply->code == TTRPC_OK)
		session->response = pbjson_from_message(reply->response, PBJSON_EMIT_DEFAULTS);
	session->answered = true;
	session->done = true;
}

static void forget_answer(struct session *session)
{
	replace_string(&session->message, NULL);
	json_decref(session->response);
	session->response = NULL;
	session->answered = session->done = false;
}

static int show_answer(const struct session *session, const char *method)
{
	if (session->signo) {
		ctl_say("%s: stopped by a signal", method);
		return CTL_FAILED;
	}
	if (session->code != TTRPC_OK) {
		ctl_say("%s: %s: %s", method, ttrpc_code_to_string(session->code),
			session->message);
		return CTL_FAILED;
	}
	json_dumpf(session->response, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
	putchar('\n');
	fflush(stdout);
	return CTL_OK;
}

static int make_request(struct session *session, const struct agent_request *request,
			unsigned timeout_s)
{
	const struct ttrpc_call_options options = {
		.service = request->service,
		.method = request->method->name,
		.request = request->message,
		.timeout_ms = timeout_s * 1000ull,
		.on_reply = on_reply,
		.userdata = session,
	};

	if (session->signo)
		return show_answer(session, request->method->name);
	ttrpc_client_call(session->channel.client, &options);
	while (!session->done)
		(void)loop_run_until(session->loop, &session->done, 1000);
	int code = show_answer(session, request->method->name);
	if (session->answered)
		forget_answer(session);
	return code;
}

/* ---------------------------------------------------------------- session */

static void on_signal(int signo, void *userdata)
{
	struct session *session = userdata;

	if (session->signo)
		_exit(128 + signo);
	session->signo = signo;
	session->done = true;
}

static int session_open(struct session *session, const struct agent_args *args)
{
	_cleanup_(error_done) struct error err = {};

	session->loop = loop_new();
	session->signals[0] = loop_signal_new(session->loop, SIGINT, on_signal, session);
	session->signals[1] = loop_signal_new(session->loop, SIGTERM, on_signal, session);
	int r = agent_channel_open(session->loop, &args->channel, &session->channel, &err);
	if (r == 0) {
		r = agent_channel_confine(&session->channel, &err);
		return r < 0 ? ctl_fail(&err) : CTL_OK;
	}
	(void)ctl_fail(&err);
	bool no_factory = !args->channel.server_address && (r == -ENOENT || r == -ECONNREFUSED);
	return no_factory ? CTL_OFF : CTL_FAILED;
}

static int session_close(struct session *session)
{
	_cleanup_(error_done) struct error err = {};

	int r = agent_channel_close(&session->channel, &err);
	forget_answer(session);
	loop_signal_free(session->signals[0]);
	loop_signal_free(session->signals[1]);
	loop_free(session->loop);
	return r < 0 ? ctl_fail(&err) : CTL_OK;
}

static int run_requests(const struct agent_args *args)
{
	struct session session = {};
	bool failed = false;

	int code = session_open(&session, args);
	for (size_t i = 0; code == CTL_OK && i < (size_t)args->repeat * args->count; i++) {
		int made = make_request(&session, &args->requests[i % args->count],
					args->channel.timeout_s);
		if (args->keep_going && !session.signo)
			failed |= made != CTL_OK;
		else
			code = made;
	}
	if (code == CTL_OK && failed)
		code = CTL_FAILED;
	int closed = session_close(&session);
	return code == CTL_OK ? closed : code;
}

/* ---------------------------------------------------------------- command line */

static int add_request(struct agent_args *args, const char *name, const char *json)
{
	_cleanup_(error_done) struct error err = {};

	if (args->count == REQUESTS_MAX)
		return ctl_usage(&ctl_agent, "more than %d requests", REQUESTS_MAX);
	struct agent_request *request = &args->requests[args->count];
	int r = json || !strpbrk(name, " \t\n{") ? agent_request_parse(name, json, request, &err)
						 : agent_request_parse_call(name, request, &err);
	if (r < 0)
		return ctl_usage(&ctl_agent, "%s", error_message(&err));
	args->count++;
	return CTL_OK;
}

/* A request a line; empty ones and those that begin with # are none. */
static int add_file(struct agent_args *args, const char *path)
{
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *text = NULL;
	char *rest = NULL;
	int code = CTL_OK;

	if (file_read(str_equal(path, "-") ? "/dev/stdin" : path, FILE_BYTES_MAX, &text, NULL,
		      &err) < 0)
		return ctl_usage(&ctl_agent, "%s", error_message(&err));
	for (char *line = strtok_r(text, "\n", &rest); line && code == CTL_OK;
	     line = strtok_r(NULL, "\n", &rest)) {
		line += strspn(line, " \t\r");
		if (*line && *line != '#')
			code = add_request(args, line, NULL);
	}
	return code;
}

static int parse_priority(const char *text, enum claim_priority *ret_priority)
{
	int priority = claim_priority_from_string(text);

	if (priority < 0)
		return ctl_usage(&ctl_agent, "--priority wants normal, high or system");
	*ret_priority = (enum claim_priority)priority;
	return CTL_OK;
}

static int parse_number(const char *option, const char *text, uint32_t *ret_number)
{
	uint64_t number;

	if (str_to_u64(text, 1, UINT32_MAX, &number) < 0)
		return ctl_usage(&ctl_agent, "%s wants a number, 1 or more", option);
	*ret_number = (uint32_t)number;
	return CTL_OK;
}

static int parse_option(int c, char **argv, struct agent_args *args)
{
	if (c == 'h')
		args->help = true;
	else if (c == 'l')
		args->list = true;
	else if (c == 'k')
		args->keep_going = true;
	else if (c == 'a')
		args->channel.server_address = optarg;
	else if (c == 's')
		args->channel.factory_socket = optarg;
	else if (c == 't')
		args->channel.template_name = optarg;
	else if (c == 'i')
		strv_add(&args->channel.images, optarg);
	else if (c == 'A')
		args->channel.annotations = optarg;
	else if (c == 'V')
		return parse_number("--vcpus", optarg, &args->channel.vcpus);
	else if (c == 'M')
		return parse_number("--memory", optarg, &args->channel.memory_mib);
	else if (c == 'f')
		return add_file(args, optarg);
	else if (c == 'r')
		return parse_number("--repeat", optarg, &args->repeat);
	else if (c == 'p')
		return parse_priority(optarg, &args->channel.priority);
	else if (c == 'c')
		return add_request(args, optarg, NULL);
	else if (c != 'T')
		return ctl_usage_option(&ctl_agent, c, argv);
	else if (!ctl_parse_seconds(optarg, &args->channel.timeout_s))
		return ctl_usage(&ctl_agent, "--timeout wants seconds, 1 to 86400");
	return CTL_OK;
}

static int parse_words(int argc, char **argv, struct agent_args *args)
{
	int code = CTL_OK;

	if (optind + 1 == argc && str_equal(argv[optind], "list")) {
		args->list = true;
		return CTL_OK;
	}
	for (int i = optind; i < argc && code == CTL_OK; i++) {
		const char *name = argv[i];
		const char *json = NULL;
		if (agent_request_is_json(name))
			return ctl_usage(&ctl_agent, "'%.40s' does not follow a request", name);
		if (i + 1 < argc && agent_request_is_json(argv[i + 1]))
			json = argv[++i];
		code = add_request(args, name, json);
	}
	return code;
}

static const struct option option_table[] = {
	{ "help", no_argument, NULL, 'h' },
	{ "image", required_argument, NULL, 'i' },
	{ "keep-going", no_argument, NULL, 'k' },
	{ "list", no_argument, NULL, 'l' },
	{ "annotations", required_argument, NULL, 'A' },
	{ "call", required_argument, NULL, 'c' },
	{ "file", required_argument, NULL, 'f' },
	{ "memory", required_argument, NULL, 'M' },
	{ "priority", required_argument, NULL, 'p' },
	{ "repeat", required_argument, NULL, 'r' },
	{ "server-address", required_argument, NULL, 'a' },
	{ "socket", required_argument, NULL, 's' },
	{ "template", required_argument, NULL, 't' },
	{ "timeout", required_argument, NULL, 'T' },
	{ "vcpus", required_argument, NULL, 'V' },
	{},
};

static int parse_args(int argc, char **argv, struct agent_args *args)
{
	int c, code = CTL_OK;

	optind = 0;
	while (code == CTL_OK && (c = getopt_long(argc, argv, ":hklc:", option_table, NULL)) != -1)
		code = parse_option(c, argv, args);
	if (code == CTL_OK)
		code = parse_words(argc, argv, args);
	if (code == CTL_OK && !args->help && !args->list && args->count == 0)
		return ctl_usage(&ctl_agent, "which request? 'agent list' shows all");
	return code;
}

static int agent_run(int argc, char **argv)
{
	_cleanup_free_ struct agent_args *args = xnew(struct agent_args);

	args->channel.factory_socket = factory_default_address();
	args->channel.timeout_s = 60;
	args->repeat = 1;
	int code = parse_args(argc, argv, args);
	if (code == CTL_OK && args->help)
		code = ctl_help(&ctl_agent);
	else if (code == CTL_OK && args->list)
		agent_request_list(stdout);
	else if (code == CTL_OK)
		code = run_requests(args);
	for (size_t i = 0; i < args->count; i++)
		agent_request_done(&args->requests[i]);
	strv_done(&args->channel.images);
	return code;
}

static const char *word(size_t i)
{
	return i == 0 ? "list" : agent_request_name(i - 1);
}

const struct ctl_command ctl_agent = {
	.name = "agent",
	.usage = "kiln-ctl agent [OPTIONS] REQUEST [JSON] [REQUEST [JSON]]...\n"
		 "       kiln-ctl agent list",
	.summary = "make requests to the agent in a guest, by name and JSON",
	.help = "REQUEST is a method of grpc.AgentService, grpc.Health or kiln.guest.v1.Guest; JSON is\n"
		"its message: an object, @FILE, or - for stdin. Keys are the fields' names, case and underscores\n"
		"ignored (so the parts of an OCI config.json fit); bytes are base64. Requests are\n"
		"made in the order given, those of -c first; each answer is a JSON object on\n"
		"stdout, and the first failure ends it.\n"
		"\n"
		"Without --server-address a machine is taken from the factory, named on stderr, and\n"
		"destroyed after the last request.\n"
		"\n"
		"Options:\n"
		"  -c, --call 'REQUEST JSON' one request; may be given several times\n"
		"      --file FILE           requests, one a line as in -c; # begins a comment; - is\n"
		"                            stdin\n"
		"  -k, --keep-going          also make the requests after one that failed\n"
		"      --repeat N            make all requests N times\n"
		"      --server-address ADDR unix:///PATH, unix://@ABSTRACT, vsock://CID:PORT or\n"
		"                            hvsock:///PATH:PORT (a VMM's socket for its vsock)\n"
		"      --socket PATH         of the factory, default $KILN_FACTORY or\n"
		"                            " FACTORY_SOCKET "\n"
		"      --image NAME          one its template must carry; may be given several times\n"
		"      --priority WORD       place in the line for a machine: normal, high or\n"
		"                            system\n"
		"      --template NAME       whose machine to take, default: the factory\n"
		"                            chooses, 'default' where it is there\n"
		"      --vcpus N             vCPUs and MiB the machine has to have at least: the\n"
		"      --memory MIB          template that fits best serves, or grows to it; where\n"
		"                            none fits a machine is booted\n"
		"      --annotations WORDS   that the template has to carry, commas between them\n"
		"      --timeout SECONDS     of each request, default 60\n"
		"  -l, --list                every request with its fields; the same as 'list'\n"
		"  -h, --help                this text\n"
		"\n"
		"Examples:\n"
		"  kiln-ctl agent GetGuestDetails\n"
		"  kiln-ctl agent -c 'CreateSandbox {\"sandbox_id\": \"x\"}' -c ListInterfaces\n"
		"  kiln-ctl agent --server-address vsock://3:1024 Check\n"
		"\n"
		"Exit codes: 0 all answered; 1 a request failed (its status and sentence are on\n"
		"stderr, as in 'CreateContainer: NOT_FOUND: ...'); 2 the command line is wrong;\n"
		"3 no factory runs.\n",
	.options = option_table,
	.word = word,
	.words_repeat = true,
	.run = agent_run,
};
