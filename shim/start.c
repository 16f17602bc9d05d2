#include "shim/start.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/strings.h"
#include "base/trace.h"
#include "shim/bundle.h"
#include "shim/shim.h"
#include "shim/spec.h"

#define PROGRAM "containerd-shim-kiln-v2"

static const char *const group_annotations[] = {
	"io.kubernetes.cri.sandbox-id",
	"io.containerd.runc.v2.group",
};

static int read_group(const struct arguments *arguments, const char *bundle, char **ret_group,
		      struct error *err)
{
	_cleanup_(spec_free_cleanup) struct spec *spec = NULL;
	const char *group = NULL;
	int r;

	r = spec_load(bundle, &spec, err);
	if (r < 0)
		return r;
	for (size_t i = 0; !group && i < ARRAY_SIZE(group_annotations); i++)
		group = spec_annotation(spec, group_annotations[i]);
	if (!group)
		group = arguments->id;
	if (!id_is_valid(group))
		return error_set(err, EINVAL, "\"%s\" is no valid sandbox id", group);
	*ret_group = xstrdup(group);
	return 0;
}

static char *socket_path(const struct arguments *arguments, const char *group)
{
	char hex[DIGEST_HEX_SIZE];
	struct digest *digest = digest_new();

	digest_add_string(digest, arguments->address);
	digest_add_string(digest, arguments->ns);
	digest_add_string(digest, group);
	digest_finish(digest, hex);
	digest_free(digest);
	return xasprintf(SHIM_DIR "/%s", hex);
}

/* containerd gives it; by convention it is beside the gRPC socket. */
static char *events_address(const struct arguments *arguments)
{
	const char *address = getenv("TTRPC_ADDRESS");

	if (!str_empty(address))
		return xstrdup(address);
	return *arguments->address ? xasprintf("%s.ttrpc", arguments->address) : NULL;
}

/* When this process was exec'ed, but for what it has waited since. */
static uint64_t exec_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return clock_monotonic_ns() - (uint64_t)used.tv_sec * 1000000000 - (uint64_t)used.tv_nsec;
}

/* Last of all: what goes wrong is a line on stderr, where containerd would not want it before. */
static void trace_start(const char *group, uint64_t begun_ns)
{
	log_init(PROGRAM, STDERR_FILENO, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	trace_init("shim", NULL, group);
	trace_end(TRACE_SHIM_START, NULL, begun_ns);
}

/* The bundle's FIFO, which containerd reads; nobody else does, so writing must not block. */
static int open_log(const char *bundle)
{
	_cleanup_free_ char *path = path_join(bundle, "log");
	int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);

	return fd >= 0 ? fd : open("/dev/null", O_WRONLY | O_CLOEXEC);
}

static int become_daemon(struct error *err)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || setsid() < 0 || chdir("/") < 0)
		return error_set_errno(err, errno, "cannot become a daemon");
	for (int fd = 0; fd <= 2; fd++)
		if (dup2(null, fd) < 0)
			return error_set_errno(err, errno, "cannot replace descriptor %d", fd);
	umask(0022);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	return 0;
}

static int serve(const struct arguments *arguments, const char *bundle, const char *group,
		 const char *path, int *listen_fd, struct error *err)
{
	_cleanup_free_ char *events = events_address(arguments);
	_cleanup_close_ int log_fd = open_log(bundle);
	_cleanup_(loop_free_cleanup) struct loop *loop = NULL;
	struct shim_options options = {
		.socket_path = path,
		.id = group,
		.ns = arguments->ns,
		.events_address = events,
	};
	int r;

	r = become_daemon(err);
	if (r < 0)
		return r;
	log_init(PROGRAM, log_fd, arguments->debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO,
		 LOG_FORMAT_TEXT);
	trace_init("shim", NULL, group);
	loop = loop_new();
	options.loop = loop;
	options.listen_fd = steal_fd(listen_fd);
	_cleanup_(shim_free_cleanup) struct shim *shim _unused_ = shim_new(&options);
	loop_run(loop);
	log_init(PROGRAM, STDERR_FILENO, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	return 1;
}

static int start_server(const struct arguments *arguments, const char *bundle, const char *group,
			const char *path, int listen_fd, struct error *err)
{
	pid_t pid = fork();

	if (pid < 0)
		return error_set_errno(err, errno, "cannot fork the shim");
	if (pid > 0) {
		close(listen_fd);
		return 0;
	}
	return serve(arguments, bundle, group, path, &listen_fd, err);
}

/* The folder may go with another shim's socket between the two steps: once more then. */
static int listen_on(const char *path, int *ret_fd, struct error *err)
{
	int r = -ENOENT;

	for (int i = 0; r == -ENOENT && i < 2; i++) {
		r = dir_make(SHIM_DIR, 0711, err);
		if (r >= 0)
			r = socket_listen_unix(path, 0600, ret_fd, err);
	}
	return r;
}

int start_run(const struct arguments *arguments, struct error *err)
{
	_cleanup_free_ char *bundle = *arguments->bundle ? xstrdup(arguments->bundle)
							 : getcwd(NULL, 0);
	_cleanup_free_ char *group = NULL;
	_cleanup_free_ char *path = NULL;
	_cleanup_free_ char *address = NULL;
	uint64_t begun_ns = exec_ns();
	int fd = -EBADF;
	int r;

	if (!bundle)
		return error_set_errno(err, errno, "the bundle is not there");
	(void)close_range(STDERR_FILENO + 1, ~0U, 0);
	r = read_group(arguments, bundle, &group, err);
	if (r < 0)
		return r;
	path = socket_path(arguments, group);
	address = xasprintf("unix://%s", path);
	r = bundle_write_address(bundle, address, err);
	if (r < 0)
		return r;

	r = listen_on(path, &fd, err);
	if (r == 0)
		r = start_server(arguments, bundle, group, path, fd, err);
	else if (r == -EADDRINUSE)
		r = 0; /* the pod's shim is there */
	if (r == 0) {
		error_done(err);
		printf("%s\n", address);
		fflush(stdout);
		trace_start(group, begun_ns);
	}
	return r;
}
