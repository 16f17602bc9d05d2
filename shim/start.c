#include "shim/start.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/open_files.h"
#include "base/socket.h"
#include "base/strings.h"
#include "base/trace.h"
#include "proto/shim_socket.h"
#include "shim/bootstrap.h"
#include "shim/bundle.h"
#include "shim/shim.h"
#include "shim/spec.h"

static const char *const group_annotations[] = {
	"io.kubernetes.cri.sandbox-id",
	"io.kubernetes.cri-o.SandboxID",
	"io.containerd.runc.v2.group",
};

enum {
	STDIN_MAX = 64 * 1024,
	STDIN_WAIT_MS = 1000, /* containerd writes them at once; somebody else may never */
};

/* What a start has found out. */
struct start {
	const struct arguments *arguments; /* borrowed */
	char *bundle;                      /* owned */
	struct spec *spec;                 /* owned; the bundle's */
	struct bootstrap bootstrap;        /* what stdin held */
	const char *group;                 /* in spec or arguments */
	char *path;                        /* owned; of the socket */
	int listen_fd;                     /* owned */
};

/* What is large and not needed any more; group goes, too. */
static void start_forget(struct start *start)
{
	bootstrap_done(&start->bootstrap);
	spec_free(steal_ptr(start->spec));
	start->group = NULL;
}

static void start_done(struct start *start)
{
	start_forget(start);
	free(start->bundle);
	free(start->path);
	close_fd(start->listen_fd);
}

static int find_group(struct start *start, struct error *err)
{
	const char *group = NULL;

	for (size_t i = 0; !group && i < ARRAY_SIZE(group_annotations); i++)
		group = spec_annotation(start->spec, group_annotations[i]);
	if (!group)
		group = start->arguments->id;
	if (!id_is_valid(group))
		return error_set(err, EINVAL, "\"%s\" is no valid sandbox id", group);
	start->group = group;
	return 0;
}

/* Options come again with Create: here they are a hint, and none are as good. */
static void read_stdin(struct start *start)
{
	_cleanup_free_ uint8_t *data = NULL;
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	struct stat st;
	size_t len = 0;
	ssize_t n = 1;

	if (fstat(STDIN_FILENO, &st) < 0 || !S_ISFIFO(st.st_mode))
		return;
	data = xcalloc(1, STDIN_MAX);
	while (n > 0 && len < STDIN_MAX && poll(&in, 1, STDIN_WAIT_MS) > 0) {
		n = read(STDIN_FILENO, data + len, STDIN_MAX - len);
		len += n > 0 ? (size_t)n : 0;
	}
	if (n == 0)
		bootstrap_read(data, len, start->arguments->id, &start->bootstrap);
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
	struct trace_span span = {};

	log_init(SHIM_PROGRAM, STDERR_FILENO, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	trace_init("shim", NULL, group);
	span = trace_begin();
	span.begin_ns = span.begin_ns ? begun_ns : 0;
	trace_end(TRACE_SHIM_START, NULL, &span);
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

static int serve(struct start *start, struct error *err)
{
	const struct arguments *arguments = start->arguments;
	_cleanup_free_ char *events = events_address(arguments);
	_cleanup_close_ int log_fd = open_log(start->bundle);
	_cleanup_(loop_free_cleanup) struct loop *loop = NULL;
	struct shim_options options = {
		.socket_path = start->path,
		.id = start->group,
		.ns = arguments->ns,
		.events_address = events,
	};
	int r;

	r = become_daemon(err);
	if (r < 0)
		return r;
	open_files_raise(); /* each process has some for its streams, each volume for its mounts */
	log_init(SHIM_PROGRAM, log_fd, arguments->debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO,
		 LOG_FORMAT_TEXT);
	trace_init("shim", NULL, start->group);
	loop = loop_new();
	options.loop = loop;
	options.listen_fd = steal_fd(&start->listen_fd);
	_cleanup_(shim_free_cleanup) struct shim *shim = shim_new(&options);
	shim_prepare(shim, start->bootstrap.options, start->spec);
	start_forget(start);
	loop_run(loop);
	log_init(SHIM_PROGRAM, STDERR_FILENO, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	return 1;
}

static int start_server(struct start *start, uint64_t begun_ns, struct error *err)
{
	trace_root_new(begun_ns);

	pid_t pid = fork();

	if (pid < 0)
		return error_set_errno(err, errno, "cannot fork the shim");
	return pid > 0 ? 0 : serve(start, err);
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

static int prepare(struct start *start, struct error *err)
{
	const char *bundle = start->arguments->bundle;
	int r;

	start->bundle = *bundle ? xstrdup(bundle) : getcwd(NULL, 0);
	if (!start->bundle)
		return error_set_errno(err, errno, "the bundle is not there");
	r = spec_load_pod(start->bundle, &start->spec, err);
	if (r == 0)
		r = find_group(start, err);
	if (r < 0)
		return r;
	start->path = shim_socket_path(start->arguments->address, start->arguments->ns,
				       start->group);
	return 0;
}

static void answer(const struct start *start, const char *address)
{
	_cleanup_(strbuf_done) struct strbuf bytes = {};

	bootstrap_answer(&start->bootstrap, address, &bytes);
	(void)fwrite(bytes.text, 1, bytes.len, stdout);
	(void)fflush(stdout);
}

int start_run(const struct arguments *arguments, struct error *err)
{
	_cleanup_(start_done) struct start start = { .arguments = arguments, .listen_fd = -EBADF };
	_cleanup_free_ char *address = NULL;
	uint64_t begun_ns = exec_ns();
	int r;

	(void)close_range(STDERR_FILENO + 1, ~0U, 0);
	r = prepare(&start, err);
	if (r < 0)
		return r;
	address = xasprintf("unix://%s", start.path);
	r = bundle_write_address(start.bundle, address, err);
	if (r < 0)
		return r;

	read_stdin(&start);
	/* CRI-O has the variable from containerd's library, and reads a line. It has no address. */
	if (*arguments->address)
		bootstrap_read_version(getenv("MAX_SHIM_VERSION"), &start.bootstrap);
	r = listen_on(start.path, &start.listen_fd, err);
	if (r == 0) {
		r = start_server(&start, begun_ns, err);
	} else if (r == -EADDRINUSE) {
		r = 0; /* the pod's shim is there */
	}
	if (r == 0) {
		error_done(err);
		answer(&start, address);
		trace_start(start.group, begun_ns);
	}
	return r;
}
