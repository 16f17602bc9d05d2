#include "factory/api/http.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"

#define HEADERS_MAX     8192
#define BODY_MAX        4096
#define CONNECTIONS_MAX 32
#define BACKLOG         64
#define RETRY_MS        1000

/* One that asks waits for us, else we wait for it. */
struct connection {
	struct bufferevent *stream; /* a reference */
	bool asks;                  /* and has no answer yet */
	uint64_t since_ms;          /* of its accept, or of the last answer */
};

struct http {
	struct evhttp *evhttp;
	struct evconnlistener *listener; /* evhttp's */
	struct loop_timer *retry;        /* while the listener is disabled */
	struct loop_timer *expiry;       /* while there are connections */
	unsigned deadline_ms;
	struct connection connections[CONNECTIONS_MAX + 1]; /* the last one makes another go */
	size_t nconnections;
	const struct http_page *pages;
	size_t npages;
	bool loopback_names_only;
	void *userdata;
};

struct http_request {
	struct http *http;
	struct evhttp_request *req;
};

/* ---------------------------------------------------------------- connections */

/* evhttp does not tell when a connection ends that asked nothing. So we hold on to the
 * bufferevents: one whose callbacks are gone was given up, its descriptor closed, by evhttp. */
static bool connection_ended(const struct connection *connection)
{
	bufferevent_event_cb on_event = NULL;

	bufferevent_getcb(connection->stream, NULL, NULL, &on_event, NULL);
	return !on_event;
}

static void connections_sweep(struct http *http)
{
	size_t kept = 0;

	for (size_t i = 0; i < http->nconnections; i++) {
		if (connection_ended(&http->connections[i]))
			bufferevent_decref(http->connections[i].stream);
		else
			http->connections[kept++] = http->connections[i];
	}
	http->nconnections = kept;
}

/* evhttp sees the end of a stream in the next round, and gives the connection up. */
static void connection_close(const struct connection *connection)
{
	(void)shutdown(bufferevent_getfd(connection->stream), SHUT_RDWR);
}

/* Of those we wait for, the one we have waited for longest; NULL: all of them wait for us. */
static struct connection *connection_oldest(struct http *http)
{
	struct connection *oldest = NULL;

	for (size_t i = 0; i < http->nconnections; i++) {
		struct connection *connection = &http->connections[i];
		if (!connection->asks && (!oldest || connection->since_ms < oldest->since_ms))
			oldest = connection;
	}
	return oldest;
}

/* One more than there may be has come. Nobody else is accepted until one is gone: the one we have
 * waited for longest, whom whoever comes to read has overtaken long before. */
static void connections_make_room(struct http *http)
{
	const struct connection *oldest = connection_oldest(http);

	if (oldest)
		connection_close(oldest);
	evconnlistener_disable(http->listener);
	loop_timer_start(http->retry, oldest ? 0 : RETRY_MS);
}

static struct bufferevent *connection_new(struct event_base *base, void *userdata)
{
	struct http *http = userdata;
	struct bufferevent *stream = bufferevent_socket_new(base, -1, 0);

	connections_sweep(http);
	bufferevent_incref(stream);
	if (http->nconnections == 0)
		loop_timer_start(http->expiry, http->deadline_ms);
	http->connections[http->nconnections++] = (struct connection){
		.stream = stream,
		.since_ms = clock_monotonic_ms(),
	};
	if (http->nconnections > CONNECTIONS_MAX)
		connections_make_room(http);
	return stream;
}

static void on_expiry(void *userdata)
{
	struct http *http = userdata;
	uint64_t now = clock_monotonic_ms(), next = now + http->deadline_ms;

	connections_sweep(http);
	for (size_t i = 0; i < http->nconnections; i++) {
		const struct connection *connection = &http->connections[i];
		uint64_t due = connection->since_ms + http->deadline_ms;
		if (connection->asks)
			continue;
		if (due <= now)
			connection_close(connection);
		else if (due < next)
			next = due;
	}
	if (http->nconnections > 0)
		loop_timer_start(http->expiry, next - now);
}

static void connection_mark(struct http *http, struct evhttp_request *req, bool asks)
{
	struct evhttp_connection *evcon = evhttp_request_get_connection(req);
	const struct bufferevent *stream = evcon ? evhttp_connection_get_bufferevent(evcon) : NULL;

	for (size_t i = 0; i < http->nconnections; i++) {
		if (http->connections[i].stream != stream)
			continue;
		http->connections[i].asks = asks;
		http->connections[i].since_ms = clock_monotonic_ms();
	}
}

static void on_retry(void *userdata)
{
	struct http *http = userdata;

	connections_sweep(http);
	if (http->nconnections <= CONNECTIONS_MAX)
		evconnlistener_enable(http->listener);
	else
		connections_make_room(http);
}

/* Of one that has asked: there may be room now, once evhttp is done with it. */
static void on_connection_end(struct evhttp_connection *evcon _unused_, void *userdata)
{
	struct http *http = userdata;

	if (http->nconnections > CONNECTIONS_MAX)
		loop_timer_start(http->retry, 0);
}

/* Out of descriptors, mostly: trying on at once would spin. */
static void on_accept_error(struct evconnlistener *listener, void *userdata)
{
	struct http *http = userdata;

	log_warning(NULL, "cannot accept an HTTP connection: %s", strerror(errno));
	evconnlistener_disable(listener);
	loop_timer_start(http->retry, RETRY_MS);
}

/* ---------------------------------------------------------------- requests */

static const struct {
	const char *name, *value;
} headers_of_all[] = {
	{ "Cache-Control", "no-store" },
	{ "Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; "
				     "base-uri 'none'; form-action 'none'; "
				     "frame-ancestors 'none'" },
	{ "Cross-Origin-Resource-Policy", "same-origin" },
	{ "Referrer-Policy", "no-referrer" },
	{ "X-Content-Type-Options", "nosniff" },
};

/* Of a body that is not sent, which evhttp would not count. */
static void add_length(struct evkeyvalq *headers, size_t len)
{
	char text[24];

	snprintf(text, sizeof(text), "%zu", len);
	evhttp_add_header(headers, "Content-Length", text);
}

void http_reply(struct http_request *request, int status, const char *type, const char *body)
{
	struct evhttp_request *req = request->req;
	struct evbuffer *buffer = evbuffer_new();
	struct evkeyvalq *headers = evhttp_request_get_output_headers(req);

	evhttp_add_header(headers, "Content-Type", type);
	for (size_t i = 0; i < ARRAY_SIZE(headers_of_all); i++)
		evhttp_add_header(headers, headers_of_all[i].name, headers_of_all[i].value);
	if (evhttp_request_get_command(req) == EVHTTP_REQ_HEAD)
		add_length(headers, strlen(body));
	else
		evbuffer_add(buffer, body, strlen(body));
	connection_mark(request->http, req, false);
	evhttp_send_reply(req, status, NULL, buffer);
	evbuffer_free(buffer);
	free(request);
}

static bool is_for_us(const struct http *http, struct evhttp_request *req)
{
	const char *host = evhttp_request_get_host(req); /* without its port */

	return !http->loopback_names_only || str_equal(host, "127.0.0.1") ||
	       (host && strcasecmp(host, "localhost") == 0);
}

static void on_request(struct evhttp_request *req, void *userdata)
{
	struct http *http = userdata;
	struct http_request *request = xnew(struct http_request);
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
	enum evhttp_cmd_type method = evhttp_request_get_command(req);
	const char *path = uri ? evhttp_uri_get_path(uri) : NULL;
	const struct http_page *page = NULL;

	*request = (struct http_request){ http, req };
	connection_mark(http, req, true);
	evhttp_connection_set_closecb(evhttp_request_get_connection(req), on_connection_end, http);
	for (size_t i = 0; i < http->npages; i++) {
		if (str_equal(http->pages[i].path, path))
			page = &http->pages[i];
	}
	if (!is_for_us(http, req)) {
		http_reply(request, 421, HTTP_TEXT, "this server is 127.0.0.1 or localhost\n");
	} else if (!page) {
		http_reply(request, 404, HTTP_TEXT, "no such page\n");
	} else if (method != EVHTTP_REQ_GET && method != EVHTTP_REQ_HEAD) {
		evhttp_add_header(evhttp_request_get_output_headers(req), "Allow", "GET, HEAD");
		http_reply(request, 405, HTTP_TEXT, "pages are read with GET\n");
	} else {
		page->fn(request, http->userdata);
	}
}

/* ---------------------------------------------------------------- the server */

struct http *http_new(struct loop *loop, int fd, const struct http_page *pages, size_t npages,
		      unsigned deadline_ms, void *userdata)
{
	struct http *http = xnew(struct http);

	http->pages = pages;
	http->npages = npages;
	http->userdata = userdata;
	http->deadline_ms = deadline_ms;
	http->retry = loop_timer_new(loop, on_retry, http);
	http->expiry = loop_timer_new(loop, on_expiry, http);
	http->evhttp = evhttp_new(loop_base(loop));
	evhttp_set_allowed_methods(http->evhttp, (1 << 9) - 1); /* ours to refuse: 405, not 501 */
	evhttp_set_max_headers_size(http->evhttp, HEADERS_MAX);
	evhttp_set_max_body_size(http->evhttp, BODY_MAX);
	evhttp_set_bevcb(http->evhttp, connection_new, http);
	evhttp_set_gencb(http->evhttp, on_request, http);
	struct evhttp_bound_socket *bound = evhttp_accept_socket_with_handle(http->evhttp, fd);
	http->listener = evhttp_bound_socket_get_listener(bound);
	evconnlistener_set_error_cb(http->listener, on_accept_error);
	return http;
}

void http_loopback_names_only(struct http *http)
{
	http->loopback_names_only = true;
}

void http_free(struct http *http)
{
	if (!http)
		return;
	evhttp_free(http->evhttp);
	connections_sweep(http);
	loop_timer_free(http->retry);
	loop_timer_free(http->expiry);
	free(http);
}

int http_listen_loopback(uint16_t port, int *ret_fd, struct error *err)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr = { htonl(INADDR_LOOPBACK) },
	};

	if (fd < 0)
		return error_set_errno(err, errno, "cannot make a TCP socket");
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
	if (bind(fd, (const void *)&address, sizeof(address)) < 0 || listen(fd, BACKLOG) < 0)
		return error_set_errno(err, errno, "cannot listen on 127.0.0.1:%u", port);
	*ret_fd = steal_fd(&fd);
	return 0;
}
