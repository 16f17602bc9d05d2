#include "factory/api/trace_export.h"

#include <event2/buffer.h>
#include <event2/http.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/trace.h"
#include "factory/api/trace_batch.h"

enum {
	GATHER_MS = 1000,
	AGAIN_MS = 5000,
	TIMEOUT_S = 5,
	SENDERS_MAX = 4096,   /* as many as machines, and some */
	PACKETS_A_ROUND = 64, /* of one sender */
	ANSWER_MAX = 64 * 1024,
	HTTP_TOO_MANY = 429,
	HTTP_KINDS = 100, /* 2xx is well, 5xx the collector's own trouble */
};

struct sender {
	struct trace_export *export;
	int fd; /* owned */
	struct loop_watch *watch;
	LIST_ENTRY(sender) link;
};

struct trace_export {
	struct loop *loop;
	struct metrics *metrics;
	struct collector collector;
	char *socket_path; /* ours to remove */
	int listen_fd;
	struct loop_watch *listener;
	LIST_HEAD(sender_list, sender) senders;
	size_t nsenders;
	struct trace_batch *batch;
	struct evhttp_connection *connection;
	struct evhttp_request *request; /* under way; NULL: none */
	size_t sent;                    /* spans of it */
	struct loop_timer *timer;       /* until the next one */
	bool timer_runs;
	bool away; /* the collector, which the log says once */
};

/* ---------------------------------------------------------------- to the collector */

static void count(struct trace_export *export, enum counter counter, const char *why, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		metrics_count(export->metrics, counter, why);
}

static void arm(struct trace_export *export, uint64_t ms)
{
	export->timer_runs = true;
	loop_timer_start(export->timer, ms);
}

static void note_away(struct trace_export *export, int status)
{
	if (!export->away)
		log_warning(NULL, "the collector of traces at %s:%u %s (HTTP status %d)",
			    export->collector.address, export->collector.port,
			    status ? "does not take them" : "does not answer", status);
	export->away = true;
}

static void on_answer(struct evhttp_request *request, void *userdata)
{
	struct trace_export *export = userdata;
	int status = request ? evhttp_request_get_response_code(request) : 0;
	int kind = status / HTTP_KINDS;

	export->request = NULL;
	if (kind == 2) {
		count(export, COUNTER_TRACE_SENT, "", export->sent);
		trace_batch_drop(export->batch, export->sent);
		export->away = false;
	} else {
		note_away(export, status);
	}
	if (kind == 2 || status == 0 || kind == 5 || status == HTTP_TOO_MANY) {
		if (trace_batch_count(export->batch) > 0)
			arm(export, kind == 2 ? 0 : AGAIN_MS);
		return;
	}
	count(export, COUNTER_TRACE_LOST, "refused", export->sent);
	trace_batch_drop(export->batch, export->sent);
	if (trace_batch_count(export->batch) > 0)
		arm(export, AGAIN_MS);
}

static void send_batch(void *userdata)
{
	struct trace_export *export = userdata;
	struct evhttp_request *request = evhttp_request_new(on_answer, export);
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	_cleanup_free_ char *body = trace_batch_body(export->batch, &export->sent);

	export->timer_runs = false;
	evhttp_add_header(headers, "Host", export->collector.address);
	evhttp_add_header(headers, "Content-Type", "application/json");
	evbuffer_add(evhttp_request_get_output_buffer(request), body, strlen(body));
	export->request = request;
	if (evhttp_make_request(export->connection, request, EVHTTP_REQ_POST,
				export->collector.path) < 0) {
		export->request = NULL; /* freed by it */
		note_away(export, 0);
		arm(export, AGAIN_MS);
	}
}

/* ---------------------------------------------------------------- from processes */

static void take(struct trace_export *export, const char *line, size_t len)
{
	uint64_t lost = 0;

	switch (trace_batch_add(export->batch, line, len, &lost)) {
	case TRACE_TAKEN:
		break;
	case TRACE_NO_SPAN:
		count(export, COUNTER_TRACE_LOST, "no span", 1);
		break;
	case TRACE_FULL:
		count(export, COUNTER_TRACE_LOST, "the queue was full", 1);
		break;
	}
	count(export, COUNTER_TRACE_LOST, "not taken in time",
	      lost < TRACE_BATCH_MAX ? lost : TRACE_BATCH_MAX);
	if (!export->request && !export->timer_runs && trace_batch_count(export->batch) > 0)
		arm(export, GATHER_MS);
}

static void sender_free(struct sender *sender)
{
	LIST_REMOVE(sender, link);
	sender->export->nsenders--;
	loop_watch_free(sender->watch);
	close_fd(sender->fd);
	free(sender);
}

static void free_later(void *userdata)
{
	sender_free(userdata);
}

static void on_packet(int fd, unsigned events _unused_, void *userdata)
{
	struct sender *sender = userdata;
	char line[TRACE_LINE_MAX + 1];

	for (unsigned i = 0; i < PACKETS_A_ROUND; i++) {
		ssize_t n = recv(fd, line, sizeof(line), MSG_DONTWAIT);
		if (n > 0) {
			take(sender->export, line, (size_t)n);
			continue;
		}
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		loop_watch_set(sender->watch, 0);
		loop_defer(sender->export->loop, free_later, sender);
		return;
	}
}

static void on_sender(int listen_fd, unsigned events _unused_, void *userdata)
{
	struct trace_export *export = userdata;
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (export->nsenders == SENDERS_MAX) {
		close_fd(fd);
		return;
	}
	struct sender *sender = xnew(struct sender);
	*sender = (struct sender){ .export = export, .fd = fd };
	sender->watch = loop_watch_new(export->loop, fd, LOOP_READ, on_packet, sender);
	LIST_INSERT_HEAD(&export->senders, sender, link);
	export->nsenders++;
}

/* ---------------------------------------------------------------- life */

int trace_export_new(struct loop *loop, const char *socket_path, struct collector *collector,
		     struct metrics *metrics, struct trace_export **ret_export, struct error *err)
{
	int fd = -EBADF;
	int r = socket_listen_packets(socket_path, 0600, &fd, err);

	if (r < 0) {
		collector_done(collector);
		return error_wrap(err, "cannot take traces");
	}
	struct trace_export *export = xnew(struct trace_export);
	*export = (struct trace_export){
		.loop = loop,
		.metrics = metrics,
		.collector = *collector,
		.socket_path = xstrdup(socket_path),
		.listen_fd = fd,
		.batch = trace_batch_new(),
	};
	LIST_INIT(&export->senders);
	export->listener = loop_watch_new(loop, fd, LOOP_READ, on_sender, export);
	export->timer = loop_timer_new(loop, send_batch, export);
	export->connection = evhttp_connection_base_new(
		loop_base(loop), NULL, export->collector.address, export->collector.port);
	if (!export->connection)
		abort();
	evhttp_connection_set_timeout(export->connection, TIMEOUT_S);
	evhttp_connection_set_max_headers_size(export->connection, ANSWER_MAX);
	evhttp_connection_set_max_body_size(export->connection, ANSWER_MAX);
	*ret_export = export;
	return 0;
}

void trace_export_free(struct trace_export *export)
{
	struct sender *sender;

	if (!export)
		return;
	while ((sender = LIST_FIRST(&export->senders)))
		sender_free(sender);
	evhttp_connection_free(export->connection); /* and a request under way */
	loop_timer_free(export->timer);
	loop_watch_free(export->listener);
	close_fd(export->listen_fd);
	(void)unlink(export->socket_path);
	free(export->socket_path);
	trace_batch_free(export->batch);
	collector_done(&export->collector);
	free(export);
}
