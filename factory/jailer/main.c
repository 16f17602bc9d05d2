/* kiln-jailer: options, the socket it serves, its privileges. */
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/open_files.h"
#include "base/socket.h"
#include "factory/daemon/activation.h"
#include "factory/jailer/jailer_server.h"
#include "factory/jailer/kept_privileges.h"

#define PROGRAM "kiln-jailer"

enum { EXIT_USAGE = 2 };

static const char usage[] =
	"Usage: kiln-jailer [OPTION...]\n"
	"\n"
	"Does for kiln-factory what only root can do. kiln-factory starts it by itself, or the\n"
	"service manager does (kiln-jailer.socket).\n"
	"\n"
	"  -c, --config FILE  the factory's configuration (default " FACTORY_CONFIG_PATH ")\n"
	"  -s, --socket FD    serve the factory at the other end of this descriptor\n"
	"  -V, --version      version\n"
	"  -h, --help         this\n"
	"\n"
	"Exit status: 0 its factory has ended, 1 failed, 2 usage.\n";

struct arguments {
	const char *config;
	int socket;
};

/* -1: go on; else the exit status. */
static int parse_arguments(int argc, char **argv, struct arguments *arguments)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "socket", required_argument, NULL, 's' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	uint64_t number;
	int option;

	while ((option = getopt_long(argc, argv, "c:s:Vh", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			arguments->config = optarg;
			break;
		case 's':
			if (str_to_u64(optarg, 3, INT32_MAX, &number) < 0) {
				fprintf(stderr, PROGRAM ": \"%s\" is no descriptor\n", optarg);
				return EXIT_USAGE;
			}
			arguments->socket = (int)number;
			break;
		case 'V':
			puts(PROGRAM " " KILN_VERSION);
			return EXIT_SUCCESS;
		case 'h':
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		default:
			fputs("Try `" PROGRAM " --help`.\n", stderr);
			return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, PROGRAM ": unexpected argument \"%s\"\n", argv[optind]);
		return EXIT_USAGE;
	}
	return -1;
}

/* Of those that connect to a socket of the service manager's, the first that is the factory. */
static int accept_factory(int listening, const struct factory_config *config, int *ret_fd,
			  struct error *err)
{
	struct keeper keeper;
	struct peer peer;
	int r = keeper_find(config->user, &keeper, err);

	while (r == 0) {
		struct pollfd polled = { .fd = listening, .events = POLLIN };
		int fd = poll(&polled, 1, -1) < 0 ? -1
						  : accept4(listening, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0 && errno != EINTR && errno != ECONNABORTED && errno != EAGAIN)
			return error_set_errno(err, errno, "cannot accept a factory");
		if (fd >= 0 && socket_peer(fd, &peer) == 0 &&
		    (peer.uid == 0 || peer.uid == keeper.uid)) {
			*ret_fd = fd;
			return 0;
		}
		if (fd >= 0)
			log_warning(NULL, "refused the user %u, which is not the factory's",
				    peer.uid);
		close_fd(fd);
	}
	return r;
}

static int find_factory(const struct arguments *arguments, const struct factory_config *config,
			int *ret_fd, struct error *err)
{
	_cleanup_close_ int listening = -EBADF;

	if (arguments->socket >= 0) {
		*ret_fd = arguments->socket;
		int r = fd_set_cloexec(*ret_fd, true);
		return r < 0 ? error_set_errno(err, r, "descriptor %d", *ret_fd) : 0;
	}
	int r = activation_take("jailer", SOCK_SEQPACKET, &listening, err);
	if (r == 0 && listening < 0)
		r = error_set(err, EINVAL,
			      "no factory: kiln-factory starts this, or the service "
			      "manager");
	return r < 0 ? r : accept_factory(listening, config, ret_fd, err);
}

static int run(const struct arguments *arguments, struct error *err)
{
	_cleanup_(factory_config_done) struct factory_config config = {};
	int fd = -EBADF;
	int r = factory_config_load(arguments->config, &config, err);

	if (r < 0)
		return r;
	log_init(PROGRAM, STDERR_FILENO, (enum log_level)config.log_level,
		 (enum log_format)config.log_format);
	if (geteuid() != 0)
		return error_set(err, EPERM, "kiln-jailer needs root: it mounts and runs machines");
	r = privileges_drop(err);
	if (r == 0) /* machines and bakes take it over */
		r = confine_calls(CONFINE_HOST | CONFINE_PROCESSES | CONFINE_CORNERS, err);
	if (r == 0)
		r = find_factory(arguments, &config, &fd, err);
	if (r < 0)
		return r;
	/* Its end is the factory's, which may have to put things away until then. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	return server_run(&config, arguments->config, fd);
}

int main(int argc, char **argv)
{
	_cleanup_(error_done) struct error err = {};
	struct arguments arguments = { .socket = -EBADF };

	umask(0022); /* a machine's VMM, another user, reads what is made for it */
	open_files_raise();
	int status = parse_arguments(argc, argv, &arguments);
	if (status >= 0)
		return status;
	status = run(&arguments, &err);
	if (status < 0) {
		fprintf(stderr, PROGRAM ": %s\n", error_message(&err));
		return EXIT_FAILURE;
	}
	return status;
}
