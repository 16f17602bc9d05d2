/* kiln-factory: options, daemon mode, the loop. */

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/open_files.h"
#include "base/strings.h"
#include "base/trace.h"
#include "factory/base/collector.h"
#include "factory/core/reload.h"
#include "factory/daemon/activation.h"
#include "factory/daemon/jailer_start.h"
#include "factory/daemon/notify.h"
#include "factory/daemon/privileges.h"
#include "factory/daemon/server.h"
#include "factory/store/template.h"

#define PROGRAM "kiln-factory"

enum { EXIT_USAGE = 2 };

static const char usage[] =
	"Usage: kiln-factory [OPTION...]\n"
	"\n"
	"Bakes a template VM, keeps a pool of warm clones of it, and hands them to containerd's\n"
	"shim and to kiln-ctl over a Unix socket.\n"
	"\n"
	"  -c, --config FILE  configuration (default " FACTORY_CONFIG_PATH ", if it is there)\n"
	"  -d, --daemon       go to the background once the socket is served\n"
	"  -t, --check        check the configuration and exit\n"
	"      --help-config  the configuration's keys, as a Markdown table\n"
	"      --help-template  the keys of a template's definition, likewise\n"
	"      --help-pool    the keys of its object \"pool\", likewise\n"
	"  -V, --version      version\n"
	"  -h, --help         this\n"
	"\n"
	"SIGTERM and SIGINT end it: pooled machines are destroyed, claimed sandboxes go on; a\n"
	"second one ends it at once. SIGHUP reads the configuration again.\n"
	"\n"
	"Exit status: 0 ended as asked, 1 failed (the reason is on stderr or in the log), 2 "
	"usage.\n";

struct arguments {
	const char *config;
	bool daemon;
	bool check;
};

/* -1: go on; else the exit status. */
static int parse_arguments(int argc, char **argv, struct arguments *arguments)
{
	enum { HELP_CONFIG = 256, HELP_TEMPLATE, HELP_POOL };
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "daemon", no_argument, NULL, 'd' },
		{ "check", no_argument, NULL, 't' },
		{ "help-config", no_argument, NULL, HELP_CONFIG },
		{ "help-template", no_argument, NULL, HELP_TEMPLATE },
		{ "help-pool", no_argument, NULL, HELP_POOL },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "c:dtVh", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			arguments->config = optarg;
			break;
		case 'd':
			arguments->daemon = true;
			break;
		case 't':
			arguments->check = true;
			break;
		case HELP_CONFIG:
			factory_config_print(stdout);
			return EXIT_SUCCESS;
		case HELP_TEMPLATE:
			template_definition_print(stdout);
			return EXIT_SUCCESS;
		case HELP_POOL:
			pool_policy_print(stdout);
			return EXIT_SUCCESS;
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

static int open_log(const struct factory_config *config, bool daemon, int *ret_fd,
		    struct error *err)
{
	_cleanup_free_ char *path = NULL;

	if (config->log_file)
		path = xstrdup(config->log_file);
	else if (daemon)
		path = path_join(config->run_dir, "factory.log");
	*ret_fd = STDERR_FILENO;
	if (!path)
		return 0;
	int r = daemon ? dir_make(config->run_dir, 0700, err) : 0;
	if (r < 0)
		return r;
	*ret_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (*ret_fd < 0)
		return error_set_errno(err, errno, "cannot open the log %s", path);
	return 0;
}

/* In the parent: waits for the child's word that it serves, and ends with its verdict. */
static _Noreturn void wait_for_daemon(pid_t child, int ready_fd)
{
	char word = 0;
	int status = 0;

	if (read_full(ready_fd, &word, 1) == 1)
		_exit(EXIT_SUCCESS);
	waitpid(child, &status, 0);
	_exit(EXIT_FAILURE);
}

/* In the child: returns the descriptor on which to say that the socket is served. Until
 * then it keeps stderr, so that a failed start is seen. */
static int become_daemon(int *ret_ready_fd, struct error *err)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return error_set_errno(err, errno, "cannot make a pipe");
	pid_t child = fork();
	if (child < 0)
		return error_set_errno(err, errno, "cannot fork");
	if (child > 0) {
		close(fds[1]);
		wait_for_daemon(child, fds[0]);
	}
	close(fds[0]);
	setsid();
	*ret_ready_fd = fds[1];
	return 0;
}

static int daemon_ready(int ready_fd, struct error *err)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0 ||
	    chdir("/") < 0)
		return error_set_errno(err, errno, "cannot leave the terminal");
	int r = write_full(ready_fd, "1", 1);
	if (r < 0)
		return error_set_errno(err, r, "cannot report to the caller");
	return 0;
}

/* What the signals act on. */
struct program {
	struct server *server;
	struct notify *notify;
	const char *config_path; /* borrowed; NULL: the default */
};

static void on_end_signal(int signo, void *userdata)
{
	struct program *program = userdata;

	log_info(NULL, "got SIG%s", sigabbrev_np(signo));
	if (factory_stopping(server_factory(program->server))) {
		log_warning(NULL, "asked twice: ends at once; the next start cleans up");
		_exit(EXIT_FAILURE);
	}
	notify_stopping(program->notify);
	notify_status(program->notify, "stopping; claimed sandboxes go on");
	server_stop(program->server);
}

static void notify_serving(const struct program *program)
{
	notify_status(program->notify, "serving %s",
		      factory_config(server_factory(program->server))->socket);
	notify_ready(program->notify);
}

static void on_reload_signal(int signo _unused_, void *userdata)
{
	const struct program *program = userdata;

	if (factory_stopping(server_factory(program->server)))
		return;
	notify_reloading(program->notify);
	reload_run(server_factory(program->server), program->config_path);
	notify_serving(program);
}

static int serve(struct factory_config *config, const char *config_path,
		 struct factory_means *means, int ready_fd, struct error *err)
{
	_cleanup_(loop_free_cleanup) struct loop *loop = loop_new();
	_cleanup_(server_free_cleanup) struct server *server = NULL;
	_cleanup_(notify_free_cleanup) struct notify *notify = notify_new(loop);
	struct program program = { .notify = notify, .config_path = config_path };

	int r = server_new(loop, config, means, &server, err);
	if (r == 0 && ready_fd >= 0)
		r = daemon_ready(ready_fd, err);
	if (r < 0)
		return r;
	program.server = server;
	_cleanup_(loop_signal_free_cleanup) struct loop_signal *term _unused_ = loop_signal_new(
		loop, SIGTERM, on_end_signal, &program);
	_cleanup_(loop_signal_free_cleanup) struct loop_signal *interrupt _unused_ =
		loop_signal_new(loop, SIGINT, on_end_signal, &program);
	_cleanup_(loop_signal_free_cleanup) struct loop_signal *hang_up _unused_ = loop_signal_new(
		loop, SIGHUP, on_reload_signal, &program);
	notify_serving(&program);
	loop_run(loop);
	log_info(NULL, "stopped");
	return 0;
}

static int check(const struct arguments *arguments, const struct factory_config *config,
		 struct error *err)
{
	_cleanup_(access_free_cleanup) struct access *access = NULL;

	int r = access_new(config->allow_uids, config->allow_groups, &access, err);
	if (r < 0)
		return r;
	printf("%s: configuration is valid\n", arguments->config ? arguments->config : PROGRAM);
	return 0;
}

/* The factory writes there; so do shims, which are root. One that is somebody's already, or open to
 * others, stays as it is. */
static int give_trace_folder(const struct factory_config *config, const struct keeper *keeper,
			     struct error *err)
{
	const char *dir = config->trace ? config->trace : getenv(TRACE_ENV);
	struct stat st;

	if (geteuid() != 0 || str_empty(dir) || str_after(dir, TRACE_SOCKET))
		return 0;
	int r = dir_make(dir, 0700, err);
	if (r < 0 || lstat(dir, &st) < 0 || st.st_uid != 0 || (st.st_mode & 07777) != 0700)
		return r;
	return keeper_give(keeper, dir, err);
}

/* kiln-jailer has made the folders, and so has said who this is. */
static int drop_privileges(const struct factory_config *config, struct error *err)
{
	_cleanup_free_ char *templates = path_join(config->store, "templates");
	const struct keeper keeper = keeper_of(config->run_dir);
	struct stat st = {};

	if (geteuid() == 0 && keeper.uid == 0)
		log_info(NULL, "stays root, without capabilities: there is no user " KEEPER_USER
			       " (adduser --system --group " KEEPER_USER ", or the key user)");
	(void)stat(templates, &st);
	int r = give_trace_folder(config, &keeper, err);
	return r < 0 ? r : privileges_give_up(&keeper, st.st_gid, err);
}

static int shut_in(const struct factory_config *config, struct error *err)
{
	_cleanup_(collector_done) struct collector collector = {};
	int r = config->trace_collector ? collector_parse(config->trace_collector, &collector, err)
					: 0;

	return r < 0 ? r : privileges_shut_in(config->run_dir, collector.port, err);
}

static int run(const struct arguments *arguments, struct error *err)
{
	_cleanup_(factory_config_done) struct factory_config config = {};
	_cleanup_free_ char *config_path = path_absolute(arguments->config);
	_cleanup_close_ int socket_fd = -EBADF;
	_cleanup_close_ int ready_fd = -EBADF;
	int log_fd;

	int r = activation_take("factory", SOCK_STREAM, &socket_fd, err);
	if (r == 0)
		r = factory_config_load(config_path, &config, err);
	if (r < 0)
		return r;
	if (arguments->check)
		return check(arguments, &config, err);
	r = open_log(&config, arguments->daemon, &log_fd, err);
	if (r == 0 && arguments->daemon)
		r = become_daemon(&ready_fd, err);
	if (r < 0)
		return r;
	log_init(PROGRAM, log_fd, (enum log_level)config.log_level,
		 (enum log_format)config.log_format);
	struct factory_means means;
	r = jailer_start(&config, config_path, log_fd, socket_fd >= 0, &means, err);
	if (r < 0)
		return r;
	_cleanup_(jailer_free_cleanup) struct jailer *jailer _unused_ = means.jailer;
	if (socket_fd >= 0)
		means.socket_fd = steal_fd(&socket_fd);
	r = drop_privileges(&config, err);
	if (r < 0)
		return r;
	trace_init("factory", config.trace, NULL);
	r = shut_in(&config, err); /* log and trace are open */
	if (r < 0)
		return r;
	return serve(&config, config_path, &means, ready_fd, err);
}

int main(int argc, char **argv)
{
	_cleanup_(error_done) struct error err = {};
	struct arguments arguments = {};

	umask(0022); /* a machine's VMM, another user, reads what is made for it */
	open_files_raise();
	int status = parse_arguments(argc, argv, &arguments);
	if (status >= 0)
		return status;
	if (run(&arguments, &err) < 0) {
		fprintf(stderr, PROGRAM ": %s\n", error_message(&err));
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}
