#include "ctl/metrics_serve.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "ctl/metrics_page.h"
#include "ctl/serve.h"

enum { BACKLOG = 64 };

struct metrics_server {
	struct loop *loop;
	struct sandboxes_options ask;
	struct sandboxes_query *query; /* NULL: nobody waits */
	uint64_t begun_ns;             /* of the query */
	struct serve_readers readers;  /* who wait for it */
};

static void answer(struct metrics_server *server, int status, const char *body)
{
	serve_readers_answer(&server->readers, status, HTTP_TEXT, body);
}

static void on_sandboxes(struct sandboxes *sandboxes, void *userdata)
{
	struct metrics_server *server = userdata;
	_cleanup_(strbuf_done) struct strbuf page = {};

	server->query = NULL;
	metrics_page_write(sandboxes, (double)(clock_monotonic_ns() - server->begun_ns) / 1e9,
			   &page);
	sandboxes_done(sandboxes);
	answer(server, 200, strbuf_text(&page));
}

static void on_metrics(struct http_request *request, void *userdata)
{
	struct metrics_server *server = userdata;
	_cleanup_(error_done) struct error err = {};

	if (!serve_readers_add(&server->readers, request) || server->query)
		return;
	server->begun_ns = clock_monotonic_ns();
	if (sandboxes_ask(server->loop, &server->ask, on_sandboxes, server, &server->query, &err) <
	    0) {
		log_error(NULL, "%s", error_message(&err));
		answer(server, 500, "the sandboxes of this host cannot be found\n");
	}
}

static void on_health(struct http_request *request, void *userdata _unused_)
{
	http_reply(request, 200, HTTP_TEXT, "ok\n");
}

static const struct http_page pages[] = {
	{ "/metrics", on_metrics },
	{ "/healthz", on_health },
};

/* ---------------------------------------------------------------- its socket */

static int listen_tcp(const char *address, const char *colon, int *ret_fd, struct error *err)
{
	_cleanup_free_ char *host = xstrndup(address, (size_t)(colon - address));
	struct sockaddr_in in = { .sin_family = AF_INET };
	uint64_t port;

	if (inet_pton(AF_INET, host, &in.sin_addr) != 1 ||
	    str_to_u64(colon + 1, 1, UINT16_MAX, &port) < 0)
		return error_set(err, EINVAL, "'%s' is neither ADDRESS:PORT nor a socket's path",
				 address);
	in.sin_port = htons((uint16_t)port);
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set_errno(err, errno, "cannot make a TCP socket");
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
	if (bind(fd, (const struct sockaddr *)&in, sizeof(in)) < 0 || listen(fd, BACKLOG) < 0)
		return error_set_errno(err, errno, "cannot listen on %s", address);
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* *ret_path: what is to be removed at the end; NULL: nothing. */
static int listen_on(const char *address, int *ret_fd, const char **ret_path, struct error *err)
{
	const char *rest = str_after(address, "unix://"), *path = rest ? rest : address;
	const char *colon = strrchr(address, ':');

	*ret_path = *path == '/' ? path : NULL;
	if (*ret_path)
		return socket_listen_unix(path, 0600, ret_fd, err);
	if (colon)
		return listen_tcp(address, colon, ret_fd, err);
	return error_set(err, EINVAL, "'%s' is neither ADDRESS:PORT nor a socket's path", address);
}

static bool is_loopback(int fd)
{
	struct sockaddr_in in;
	socklen_t len = sizeof(in);

	return getsockname(fd, (struct sockaddr *)&in, &len) == 0 && in.sin_family == AF_INET &&
	       in.sin_addr.s_addr == htonl(INADDR_LOOPBACK);
}

static void end(void *userdata)
{
	struct metrics_server *server = userdata;

	sandboxes_cancel(server->query);
	answer(server, 503, "it ends\n");
}

int metrics_serve(const struct metrics_serve_options *options, struct error *err)
{
	const char *path;
	int fd, r = listen_on(options->address, &fd, &path, err);

	if (r < 0)
		return r;
	_cleanup_(loop_free_cleanup) struct loop *loop = loop_new();
	struct metrics_server server = {
		.loop = loop,
		.ask = { .dir = options->dir, .timeout_ms = options->timeout_ms, .guest = true },
	};
	serve_run(loop, &(struct serve_options){
				.fd = fd,
				.pages = pages,
				.npages = ARRAY_SIZE(pages),
				.loopback = is_loopback(fd),
				.end = end,
				.userdata = &server,
			});
	if (path)
		(void)unlink(path);
	return 0;
}
