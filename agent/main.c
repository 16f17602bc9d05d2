/* kiln-agent: PID 1 of a Kiln guest, serving Kata's agent protocol over ttRPC.
 *
 *   parse -> boot -> serve until told to stop (never, as PID 1)
 *
 * By the name of modprobe it is what the kernel has load a module (agent/modules.h).
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>

#include "agent/boot.h"
#include "agent/card_calls.h"
#include "agent/channel.h"
#include "agent/console.h"
#include "agent/disk_calls.h"
#include "agent/modules.h"
#include "agent/policy.h"
#include "agent/reaper.h"
#include "agent/rpc.h"
#include "agent/sandbox.h"
#include "agent/scratch.h"
#include "agent/vsock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/strings.h"
#include "proto/agent_calls.h"
#include "proto/agent_vsock.h"

enum { EXIT_USAGE = 2 };

static const char usage[] =
	"Usage: kiln-agent [--listen ADDRESS] [--log LEVEL] [--version] [--help]\n"
	"\n"
	"As PID 1 of a guest it takes no options: it prepares the guest and serves the\n"
	"virtio-serial port org.kiln.agent.0 and vsock port 1024.\n"
	"\n"
	"  --listen ADDRESS  run outside of a guest, for development, and serve\n"
	"                    unix:PATH or vsock:PORT. Root is needed; containers are real\n"
	"  --log LEVEL       debug, info (default), warning or error\n"
	"  --version         print the version\n";

struct arguments {
	const char *listen; /* NULL: as PID 1 */
	enum log_level level;
};

/* What main owns. */
struct program {
	struct agent agent;
	struct vsock_listener *vsock;
	struct loop_signal *terminate[2];
};

/* ---------------------------------------------------------------- arguments */

static int parse_level(const char *name, struct arguments *arguments)
{
	int level = log_level_from_string(name);

	if (level < 0) {
		fprintf(stderr, "kiln-agent: \"%s\" is no log level\n", name);
		return -EINVAL;
	}
	arguments->level = (enum log_level)level;
	return 0;
}

/* 0: go on; positive: done, all is well; negative: wrong usage. */
static int parse(int argc, char **argv, struct arguments *arguments)
{
	static const struct option options[] = {
		{ "listen", required_argument, NULL, 'l' },
		{ "log", required_argument, NULL, 'L' },
		{ "version", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{},
	};
	int option, r = 0;

	while (r == 0 && (option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (option) {
		case 'l':
			arguments->listen = optarg;
			break;
		case 'L':
			r = parse_level(optarg, arguments);
			break;
		case 'v':
			printf("kiln-agent %s\n", KILN_VERSION);
			return 1;
		case 'h':
			fputs(usage, stdout);
			return 1;
		default:
			return -EINVAL;
		}
	}
	return r;
}

/* ---------------------------------------------------------------- building */

static void on_reaped(void *userdata)
{
	struct agent *agent = userdata;

	sandbox_step(agent->sandbox);
}

static void on_conn_end(struct ttrpc_conn *conn, void *userdata)
{
	struct agent *agent = userdata;

	if (agent->channel)
		channel_on_conn_end(agent->channel, conn);
}

static void build(struct agent *agent)
{
	const struct ttrpc_server_options options = {
		.userdata = agent,
		.max_calls = AGENT_CALLS_MAX,
		.on_call = rpc_is_allowed,
		.on_conn_end = on_conn_end,
	};

	agent->loop = loop_new();
	agent->reaper = reaper_new(agent->loop, on_reaped, agent);
	agent->server = ttrpc_server_new(agent->loop, &options);
	agent->scratch = scratch_new(agent->loop);
	agent->disks = disk_calls_new(agent->loop);
	agent->cards = card_calls_new(agent->loop);
	agent->sandbox = sandbox_new(agent);
	rpc_register(agent);
}

static void tear_down(struct program *program)
{
	struct agent *agent = &program->agent;

	for (size_t i = 0; i < ARRAY_SIZE(program->terminate); i++)
		loop_signal_free(program->terminate[i]);
	vsock_listener_free(program->vsock);
	channel_free(steal_ptr(agent->channel));
	ttrpc_server_free(agent->server);
	sandbox_free(agent->sandbox);
	console_free(agent->console);
	scratch_free(agent->scratch);
	disk_calls_free(agent->disks);
	finders_free(agent->cards);
	policy_free(agent->policy);
	reaper_free(agent->reaper);
	loop_free(agent->loop);
}

/* ---------------------------------------------------------------- serving */

static int serve_unix(struct program *program, const char *path, struct error *err)
{
	int fd;
	int r = socket_listen_unix(path, 0600, &fd, err);

	if (r == 0)
		ttrpc_server_listen(program->agent.server, fd);
	return r;
}

static int serve_address(struct program *program, const char *address, struct error *err)
{
	const char *path = str_after(address, "unix:");
	const char *port = str_after(address, "vsock:");
	uint64_t number;

	if (path && *path)
		return serve_unix(program, path, err);
	if (port && str_to_u64(port, 1, UINT32_MAX - 1, &number) == 0)
		return vsock_listener_new(&program->agent, (unsigned)number, true, &program->vsock,
					  err);
	return error_set(err, EINVAL, "\"%s\" is neither unix:PATH nor vsock:PORT", address);
}

static void serve_guest(struct program *program)
{
	_cleanup_free_ char *ports = boot_parameter(VSOCK_PARAMETER);
	bool any_port = str_equal(ports, VSOCK_PARAMETER_ANY);
	_cleanup_(error_done) struct error err = {};

	program->agent.channel = channel_new(&program->agent);
	if (vsock_listener_new(&program->agent, AGENT_VSOCK_PORT, any_port, &program->vsock, &err) <
	    0)
		log_info(NULL, "no vsock: %s", error_message(&err));
}

static void on_shut_down(void *userdata)
{
	struct program *program = userdata;

	loop_stop(program->agent.loop);
}

static void on_terminate(int signo, void *userdata)
{
	struct program *program = userdata;

	log_info(NULL, "ending on signal %d", signo);
	sandbox_shut_down(program->agent.sandbox, on_shut_down, program);
}

static int run_outside_guest(struct program *program, const char *address, struct error *err)
{
	int r = boot_outside_guest(err);

	if (r == 0)
		r = serve_address(program, address, err);
	if (r < 0)
		return r;
	program->agent.console = console_new(&program->agent, false);
	program->terminate[0] = loop_signal_new(program->agent.loop, SIGTERM, on_terminate,
						program);
	program->terminate[1] = loop_signal_new(program->agent.loop, SIGINT, on_terminate, program);
	log_info(NULL, "kiln-agent %s serves %s", KILN_VERSION, address);
	loop_run(program->agent.loop);
	return 0;
}

static int run_in_guest(struct program *program, struct error *err)
{
	int r = boot_guest(err);

	if (r < 0)
		return r;
	program->agent.is_init = true;
	program->agent.console = console_new(&program->agent, boot_has_word(CONSOLE_WORD));
	serve_guest(program);
	log_info(NULL, "kiln-agent %s is up", KILN_VERSION);
	loop_run(program->agent.loop);
	return 0;
}

int main(int argc, char **argv)
{
	struct arguments arguments = { .level = LOG_LEVEL_INFO };
	struct program program = {};
	_cleanup_(error_done) struct error err = {};

	if (modules_is_program(argv[0]))
		return modules_program(argc, (const char *const *)argv);

	int r = parse(argc, argv, &arguments);

	if (r > 0)
		return EXIT_SUCCESS;
	if (r < 0 || (!arguments.listen && getpid() != 1)) {
		fputs(usage, stderr);
		return EXIT_USAGE;
	}
	/* Its children are born as this: closed to containers' processes of the same user. */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	log_init("kiln-agent", STDERR_FILENO, arguments.level, LOG_FORMAT_TEXT);
	build(&program.agent);
	if (arguments.listen)
		r = run_outside_guest(&program, arguments.listen, &err);
	else
		r = run_in_guest(&program, &err);
	if (r < 0)
		log_error(NULL, "%s", error_message(&err));
	tear_down(&program);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
