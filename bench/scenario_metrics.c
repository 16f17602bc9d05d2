/* What asking a node full of sandboxes takes. The sandboxes are their shims' sockets alone
 * (bench/fake_shims.h): what guests and shims need for their answers is not in it.
 *
 * metrics.all: `kiln-ctl metrics` is started, SANDBOXES answer -> it has ended.
 * metrics.hung: the same where HANGING of them hang, with `--timeout 1`.
 * metrics.read: READERS ask `kiln-ctl metrics serve` at once, all answer -> a reader has its page.
 * metrics.read-hung: the same where HANGING of them hang, with `--timeout 1`. */

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/spawn.h"
#include "bench/fake_shims.h"
#include "bench/scenarios.h"

enum { SANDBOXES = 100, HANGING = 10, READERS = 16, PAGE_MS = 20000 };

#define TIMEOUT "1" /* seconds, for answers of what may hang */
#define RUN     "/run"

/* A node's /run, with its sandboxes. */
struct node {
	char *run; /* folder */
	struct fake_shims *shims;
	char *page; /* socket of `metrics serve` */
	pid_t server;
	int server_pidfd;
};

/* ---------------------------------------------------------------- kiln-ctl on that node */

/* In the child: the folder is its /run, and nobody else's. */
static int enter(void *data, const char **ret_what)
{
	const struct node *node = data;

	*ret_what = "cannot have a /run of its own";
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount(node->run, RUN, NULL, MS_BIND, NULL) < 0)
		return -errno;
	return 0;
}

static int ask_once(struct node *node, struct series *series, struct error *err)
{
	const struct spawn_options options = {
		.argv = SPAWN_ARGV("kiln-ctl", "metrics", "--timeout", TIMEOUT),
		.in_child = enter,
		.hook_data = node,
	};
	_cleanup_free_ char *output = NULL;
	uint64_t begun = clock_monotonic_ns();
	int status;

	int r = spawn_run(&options, -1, &status, &output, err);
	if (r == 0)
		r = spawn_status_error("kiln-ctl metrics", status, output, err);
	if (r == 0)
		series_add(series, clock_monotonic_ns() - begun);
	return r;
}

/* ---------------------------------------------------------------- readers */

struct reader {
	int fd;
	size_t bytes; /* of the page, so far */
};

static int connect_reader(const struct node *node, struct reader *reader, struct error *err)
{
	static const char request[] = "GET /metrics HTTP/1.0\r\nHost: node\r\n\r\n";
	int r = socket_connect(node->page, &reader->fd, err);

	if (r == 0 && socket_send(reader->fd, request, sizeof(request) - 1, NULL, 0) !=
			      (ssize_t)sizeof(request) - 1)
		r = error_set(err, EIO, "kiln-ctl metrics serve takes no request");
	return r;
}

/* True: its page is whole. */
static bool read_some(struct reader *reader, int *ret_error)
{
	char part[65536];
	ssize_t n = read(reader->fd, part, sizeof(part));

	if (n > 0)
		reader->bytes += (size_t)n;
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		*ret_error = errno;
	return n == 0;
}

static int read_pages(struct reader *readers, struct series *series, uint64_t begun,
		      struct error *err)
{
	struct pollfd polls[READERS];
	unsigned left = READERS;
	int failed = 0;

	for (unsigned i = 0; i < READERS; i++)
		polls[i] = (struct pollfd){ readers[i].fd, POLLIN, 0 };
	while (left > 0 && failed == 0) {
		if (poll(polls, READERS, PAGE_MS) <= 0)
			return error_set(err, ETIMEDOUT, "kiln-ctl metrics serve does not answer");
		for (unsigned i = 0; i < READERS; i++) {
			if (polls[i].fd < 0 || !polls[i].revents ||
			    !read_some(&readers[i], &failed))
				continue;
			if (readers[i].bytes < SANDBOXES * 100)
				failed = EBADMSG;
			series_add(series, clock_monotonic_ns() - begun);
			polls[i].fd = -1;
			left--;
		}
	}
	return failed ? error_set_errno(err, failed, "a page of kiln-ctl metrics serve") : 0;
}

static int read_at_once(const struct node *node, struct series *series, struct error *err)
{
	struct reader readers[READERS];
	uint64_t begun = clock_monotonic_ns();
	int r = 0;

	for (unsigned i = 0; i < READERS; i++)
		readers[i] = (struct reader){ .fd = -EBADF };
	for (unsigned i = 0; r == 0 && i < READERS; i++)
		r = connect_reader(node, &readers[i], err);
	if (r == 0)
		r = read_pages(readers, series, begun, err);
	for (unsigned i = 0; i < READERS; i++)
		close_fd(readers[i].fd);
	return r;
}

/* ---------------------------------------------------------------- nodes */

static void node_done(struct node *node)
{
	if (node->server > 0) {
		kill(node->server, SIGKILL);
		(void)waitpid(node->server, NULL, 0);
	}
	close_fd(node->server_pidfd);
	fake_shims_stop(node->shims);
	if (node->run)
		(void)path_remove(node->run, NULL);
	free(node->run);
	free(node->page);
}

static int start_server(struct node *node, struct error *err)
{
	const struct spawn_options options = {
		.argv = SPAWN_ARGV("kiln-ctl", "metrics", "serve", "--timeout", TIMEOUT,
				   "--address", RUN "/page.sock"),
		.in_child = enter,
		.hook_data = node,
	};
	uint64_t deadline = clock_monotonic_ms() + PAGE_MS;
	int r = spawn(&options, &node->server, &node->server_pidfd, err);

	/* Its socket is there when it listens, or just before. */
	while (r == 0 && !path_exists(node->page)) {
		struct pollfd ended = { node->server_pidfd, POLLIN, 0 };
		if (poll(&ended, 1, 5) > 0 || clock_monotonic_ms() > deadline)
			r = error_set(err, ESRCH, "kiln-ctl metrics serve did not start");
	}
	return r;
}

static int node_new(unsigned hanging, struct node *ret_node, struct error *err)
{
	const char *below = getenv("TMPDIR");
	int r = bench_make_folder(below ? below : "/tmp", &ret_node->run, err);

	if (r < 0)
		return r;
	_cleanup_free_ char *kiln = path_join(ret_node->run, "kiln");
	_cleanup_free_ char *shims = path_join(kiln, "shims"); /* SHIM_DIR on that node */
	ret_node->page = path_join(ret_node->run, "page.sock");
	r = dir_make(kiln, 0700, err);
	if (r == 0)
		r = dir_make(shims, 0700, err);
	if (r == 0)
		r = fake_shims_start(shims, SANDBOXES, hanging, &ret_node->shims, err);
	return r < 0 ? r : start_server(ret_node, err);
}

static int measure(struct bench *bench, unsigned hanging, struct series *asked, struct series *read,
		   unsigned runs, struct error *err)
{
	_cleanup_(node_done) struct node node = { .server_pidfd = -EBADF };
	int r = node_new(hanging, &node, err);

	for (unsigned i = 0; r == 0 && i < runs; i++) {
		progress_step(&bench->progress, i, runs);
		r = ask_once(&node, asked, err);
		if (r == 0)
			r = read_at_once(&node, read, err);
	}
	return r;
}

int scenario_metrics(struct bench *bench, struct error *err)
{
	struct series *all = result_series(bench->result, "metrics.all",
					   "kiln-ctl metrics, 100 sandboxes");
	struct series *hung = result_series(bench->result, "metrics.hung",
					    "the same, 10 of them hang, timeout 1 s");
	struct series *read = result_series(bench->result, "metrics.read",
					    "metrics serve, 100 sandboxes, 16 readers at once");
	struct series *read_hung = result_series(bench->result, "metrics.read-hung",
						 "the same, 10 of them hang, timeout 1 s");
	unsigned runs = bench_share(bench, COUNT_METRICS);
	int r = runs > 0 ? measure(bench, 0, all, read, runs, err) : 0;

	if (r == 0 && runs > 0)
		r = measure(bench, HANGING, hung, read_hung, runs, err);
	return r;
}
