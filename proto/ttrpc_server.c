#include "proto/ttrpc_server.h"

#include <errno.h>
#include <event2/buffer.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/memory.h"
#include "proto/ttrpc_server_priv.h"

enum {
	DEFAULT_MAX_CONNS = 256,
	DEFAULT_MAX_CALLS = 1024,
	DEFAULT_MAX_PENDING = 16 << 20,
	ACCEPTS_A_ROUND = 16,
	REFUSED_MAX = 16,
	ACCEPT_RETRY_MS = 1000,
	SENTENCE_MAX = 4096,
	/* Answers already under way when reading stopped may still be queued; at this many times
	 * max_pending they become RESOURCE_EXHAUSTED. */
	PENDING_HARD_FACTOR = 4,
};

/* ---------------------------------------------------------------- answers */

static void close_fds(const int *fds, size_t nfds)
{
	for (size_t i = 0; i < nfds; i++)
		close_fd(fds[i]);
}

/* A peer that does not take its answers gets no more of its requests read. */
static void conn_check_pending(struct ttrpc_conn *conn)
{
	if (conn->paused || stream_pending(conn->stream) <= conn->server->options.max_pending)
		return;
	conn->paused = true;
	stream_pause(conn->stream);
}

/* False where so much is queued that not even an answer may be: that is answered, then. */
static bool conn_has_room(struct ttrpc_conn *conn, uint32_t stream)
{
	size_t pending = stream_pending(conn->stream);

	if (pending <= PENDING_HARD_FACTOR * conn->server->options.max_pending)
		return true;
	ttrpc_conn_refuse(conn, stream, TTRPC_RESOURCE_EXHAUSTED,
			  "%zu bytes of earlier answers have not been read", pending);
	return false;
}

static void conn_refuse_length(struct ttrpc_conn *conn, uint32_t stream, size_t len)
{
	ttrpc_conn_refuse(conn, stream, TTRPC_RESOURCE_EXHAUSTED,
			  "the answer has %zu bytes, a frame holds at most %u", len,
			  TTRPC_DATA_MAX);
}

void ttrpc_conn_answer(struct ttrpc_conn *conn, uint32_t stream, Ttrpc__Response *response,
		       const int *fds, size_t nfds)
{
	if (conn->state != TTRPC_CONN_OPEN) {
		close_fds(fds, nfds);
		return;
	}
	response->fds = (uint32_t)nfds;
	if (!response->status && !conn_has_room(conn, stream)) {
		close_fds(fds, nfds);
		return;
	}
	if (ttrpc_frame_send(conn->stream, stream, TTRPC_RESPONSE, &response->base, fds, nfds) <
	    0) {
		close_fds(fds, nfds);
		conn_refuse_length(conn, stream,
				   protobuf_c_message_get_packed_size(&response->base));
		return;
	}
	conn_check_pending(conn);
}

void ttrpc_conn_answer_bytes(struct ttrpc_conn *conn, uint32_t stream, uint32_t field,
			     uint8_t *data, size_t len)
{
	if (conn->state != TTRPC_CONN_OPEN || !conn_has_room(conn, stream))
		return;
	if (ttrpc_frame_send_bytes(conn->stream, stream, field, data, len) < 0)
		conn_refuse_length(conn, stream, len);
	else
		conn_check_pending(conn);
}

void ttrpc_conn_refuse(struct ttrpc_conn *conn, uint32_t stream, enum ttrpc_code code,
		       const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	_cleanup_free_ char *text = xvasprintf(fmt, args);
	va_end(args);

	_cleanup_free_ char *sentence = ttrpc_sentence(text, SENTENCE_MAX);
	Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
	Ttrpc__Response response = TTRPC__RESPONSE__INIT;
	status.code = (int32_t)code;
	status.message = sentence;
	response.status = &status;
	ttrpc_conn_answer(conn, stream, &response, NULL, 0);
}

/* ---------------------------------------------------------------- life of a connection */

static void accept_resume(struct ttrpc_server *server);

static void conn_free(void *userdata)
{
	struct ttrpc_conn *conn = userdata;

	ttrpc_reader_done(&conn->reader);
	free(conn->refusal);
	free(conn);
}

/* The one way to the end, from any state. May run handlers' on_cancel. */
static void conn_end(struct ttrpc_conn *conn)
{
	struct ttrpc_server *server = conn->server;

	if (conn->state == TTRPC_CONN_ENDED)
		return;
	stream_free(steal_ptr(conn->stream));
	conn->state = TTRPC_CONN_ENDED;
	TAILQ_REMOVE(&server->conns, conn, entry);
	*(conn->refusal ? &server->nrefused : &server->nconns) -= 1;

	ttrpc_conn_cancel_calls(conn);
	/* An on_cancel may have freed the server, whose userdata may be gone with it. */
	if (!server->freed && server->options.on_conn_end)
		server->options.on_conn_end(conn, server->options.userdata);
	if (!server->freed)
		accept_resume(server);
	conn->server = NULL;
	loop_defer(server->loop, conn_free, conn);
}

static void conn_end_deferred(void *userdata)
{
	conn_end(userdata);
}

void ttrpc_conn_close(struct ttrpc_conn *conn)
{
	if (conn->state != TTRPC_CONN_OPEN)
		return;
	stream_free(steal_ptr(conn->stream));
	conn->state = TTRPC_CONN_CLOSING;
	loop_defer(conn->server->loop, conn_end_deferred, conn);
}

/* ---------------------------------------------------------------- frames */

/* A stream that speaks of more than one request cannot be served; its call, if there is one,
 * ends here. Data without a call belongs to one that was refused already. */
static void conn_on_foreign_frame(struct ttrpc_conn *conn, const struct ttrpc_header *header)
{
	struct ttrpc_call *call = ttrpc_conn_find_call(conn, header->stream);

	if (header->type == TTRPC_RESPONSE || (header->type == TTRPC_DATA && !call))
		return;
	if (header->type == TTRPC_DATA)
		ttrpc_conn_refuse(conn, header->stream, TTRPC_UNIMPLEMENTED,
				  "streaming is not supported: a data frame came for stream %u",
				  header->stream);
	else
		ttrpc_conn_refuse(conn, header->stream, TTRPC_UNIMPLEMENTED,
				  "a frame of type %u is not supported", header->type);
	if (call)
		ttrpc_call_cancel(call);
}

static void conn_drain_frames(struct ttrpc_conn *conn)
{
	struct ttrpc_frame frame;

	while (conn->state == TTRPC_CONN_OPEN && !conn->paused &&
	       ttrpc_reader_next(&conn->reader, &frame)) {
		if (frame.header.type == TTRPC_REQUEST)
			ttrpc_conn_on_request(conn, &frame);
		else
			conn_on_foreign_frame(conn, &frame.header);
	}
}

static void conn_on_data(struct stream *stream, struct evbuffer *input, void *userdata)
{
	struct ttrpc_conn *conn = userdata;
	int fd;

	/* Requests carry no descriptors here: what a peer sends all the same is not kept. */
	while ((fd = stream_take_fd(stream)) >= 0)
		close_fd(fd);
	ttrpc_reader_add(&conn->reader, input);
	conn_drain_frames(conn);
}

static void conn_on_drained(struct stream *stream, void *userdata)
{
	struct ttrpc_conn *conn = userdata;

	if (!conn->paused)
		return;
	conn->paused = false;
	conn_drain_frames(conn);
	if (conn->state == TTRPC_CONN_OPEN && !conn->paused)
		stream_resume(stream);
}

static void conn_on_end(struct stream *stream _unused_, int reason _unused_, void *userdata)
{
	conn_end(userdata);
}

/* A vsock or TCP peer has credentials, too, but nobody's. */
static int peer_of(int fd, struct peer *ret_peer)
{
	struct peer peer;

	if (socket_peer(fd, &peer) < 0 || peer.uid == (uid_t)-1)
		return -ENOTSOCK;
	*ret_peer = peer;
	return 0;
}

/* refusal (taken): why it is refused; NULL: it is not. */
static struct ttrpc_conn *conn_new(struct ttrpc_server *server, int fd, bool edge, char *refusal)
{
	struct ttrpc_conn *conn = xnew(struct ttrpc_conn);
	struct stream_options options = {
		.on_data = conn_on_data,
		.on_drained = conn_on_drained,
		.on_end = conn_on_end,
		.userdata = conn,
		.edge = edge,
	};

	conn->server = server;
	conn->state = TTRPC_CONN_OPEN;
	conn->peer_error = peer_of(fd, &conn->peer);
	TAILQ_INIT(&conn->calls);
	ttrpc_reader_init(&conn->reader);
	TAILQ_INSERT_TAIL(&server->conns, conn, entry);
	conn->refusal = refusal;
	*(refusal ? &server->nrefused : &server->nconns) += 1;
	conn->stream = stream_new(server->loop, fd, &options);
	return conn;
}

/* ---------------------------------------------------------------- accepting */

static void accept_pause(struct ttrpc_server *server, int number)
{
	struct ttrpc_listener *listener;

	log_warning(NULL, "accepting of connections pauses with %u open: %s", server->nconns,
		    strerror(number));
	server->accept_paused = true;
	LIST_FOREACH (listener, &server->listeners, entry) {
		loop_watch_set(listener->watch, 0);
	}
	loop_timer_start(server->accept_timer, ACCEPT_RETRY_MS);
}

static void accept_resume(struct ttrpc_server *server)
{
	struct ttrpc_listener *listener;

	if (!server->accept_paused)
		return;
	server->accept_paused = false;
	loop_timer_stop(server->accept_timer);
	LIST_FOREACH (listener, &server->listeners, entry) {
		loop_watch_set(listener->watch, LOOP_READ);
	}
}

static void on_accept_timer(void *userdata)
{
	accept_resume(userdata);
}

/* Root's are those that sandboxes hang on: nobody else's stand in their way. */
static char *user_refusal(const struct ttrpc_server *server, const struct peer *peer)
{
	const struct ttrpc_conn *conn;
	unsigned same = 0, others = 0;

	if (server->options.max_conns_of_user == 0 || peer->uid == 0)
		return NULL;
	TAILQ_FOREACH (conn, &server->conns, entry) {
		if (conn->refusal || conn->peer_error < 0 || conn->peer.uid == 0)
			continue;
		others++;
		same += conn->peer.uid == peer->uid;
	}
	if (same >= server->options.max_conns_of_user)
		return xasprintf("uid %d has %u connections open, as many as it may have",
				 (int)peer->uid, same);
	if (others >= server->options.max_conns / 2)
		return xasprintf("%u connections of other users than root are open, as many as "
				 "they may have together",
				 others);
	return NULL;
}

static char *refusal_of(const struct ttrpc_server *server, const struct peer *peer)
{
	if (server->nconns >= server->options.max_conns)
		return xasprintf("%u connections are open, as many as there may be",
				 server->nconns);
	return user_refusal(server, peer);
}

/* Takes fd and why. */
static void server_refuse(struct ttrpc_server *server, int fd, const struct peer *peer, char *why)
{
	struct ttrpc_conn *oldest;

	if (server->options.on_refuse)
		server->options.on_refuse(peer, why, server->options.userdata);
	(void)conn_new(server, fd, false, why);
	if (server->nrefused <= REFUSED_MAX)
		return;
	oldest = TAILQ_FIRST(&server->conns);
	while (!oldest->refusal || oldest->state != TTRPC_CONN_OPEN)
		oldest = TAILQ_NEXT(oldest, entry);
	conn_end(oldest);
}

static void server_take(struct ttrpc_server *server, int taken_fd)
{
	_cleanup_close_ int fd = taken_fd;
	struct peer peer = { .pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1 };

	(void)peer_of(fd, &peer);
	if (server->options.on_accept &&
	    server->options.on_accept(fd, &peer, server->options.userdata) < 0)
		return;
	char *why = refusal_of(server, &peer);
	if (why)
		server_refuse(server, steal_fd(&fd), &peer, why);
	else
		(void)conn_new(server, steal_fd(&fd), false, NULL);
}

static void on_accept(int fd, unsigned events _unused_, void *userdata)
{
	struct ttrpc_listener *listener = userdata;
	struct ttrpc_server *server = listener->server;

	for (unsigned i = 0; i < ACCEPTS_A_ROUND && listener->server; i++) {
		int conn_fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (conn_fd >= 0) {
			server_take(server, conn_fd);
			continue;
		}
		if (errno == EAGAIN)
			return;
		if (errno == ECONNABORTED || errno == EINTR)
			continue;
		accept_pause(server, errno);
		return;
	}
}

/* ---------------------------------------------------------------- the server */

struct ttrpc_server *ttrpc_server_new(struct loop *loop, const struct ttrpc_server_options *options)
{
	struct ttrpc_server *server = xnew(struct ttrpc_server);

	server->loop = loop;
	server->options = *options;
	if (server->options.max_conns == 0)
		server->options.max_conns = DEFAULT_MAX_CONNS;
	if (server->options.max_calls == 0)
		server->options.max_calls = DEFAULT_MAX_CALLS;
	if (server->options.max_pending == 0)
		server->options.max_pending = DEFAULT_MAX_PENDING;
	LIST_INIT(&server->listeners);
	TAILQ_INIT(&server->conns);
	server->accept_timer = loop_timer_new(loop, on_accept_timer, server);
	return server;
}

static ttrpc_handler service_handler(const struct ttrpc_service *service, const char *method)
{
	for (size_t i = 0; i < service->nmethods; i++)
		if (str_equal(service->methods[i].name, method))
			return service->methods[i].handler;
	return NULL;
}

void ttrpc_server_add(struct ttrpc_server *server, const struct ttrpc_service *service)
{
	const ProtobufCServiceDescriptor *descriptor = service->descriptor;

	for (size_t i = 0; i < service->nmethods; i++) {
		const char *name = service->methods[i].name;
		if (!protobuf_c_service_descriptor_get_method_by_name(descriptor, name)) {
			log_error(NULL, "%s has no method %s", descriptor->name, name);
			abort();
		}
	}
	server->targets = xrealloc_array(server->targets, server->ntargets + descriptor->n_methods,
					 sizeof(*server->targets));
	for (unsigned i = 0; i < descriptor->n_methods; i++)
		server->targets[server->ntargets++] = (struct ttrpc_target){
			.service = descriptor,
			.method = &descriptor->methods[i],
			.handler = service_handler(service, descriptor->methods[i].name),
		};
}

void ttrpc_server_listen(struct ttrpc_server *server, int fd)
{
	struct ttrpc_listener *listener = xnew(struct ttrpc_listener);

	listener->server = server;
	listener->fd = fd;
	listener->watch = loop_watch_new(server->loop, fd, server->accept_paused ? 0 : LOOP_READ,
					 on_accept, listener);
	LIST_INSERT_HEAD(&server->listeners, listener, entry);
}

void ttrpc_server_stop_listening(struct ttrpc_server *server)
{
	struct ttrpc_listener *listener;
	struct ttrpc_listener *next;

	for (listener = LIST_FIRST(&server->listeners); listener; listener = next) {
		next = LIST_NEXT(listener, entry);
		LIST_REMOVE(listener, entry);
		loop_watch_free(listener->watch);
		close_fd(listener->fd);
		listener->server = NULL; /* ends an accept round that is under way */
		loop_defer(server->loop, free, listener);
	}
}

int ttrpc_server_serve(struct ttrpc_server *server, int fd, bool edge, struct ttrpc_conn **ret_conn)
{
	if (server->nconns >= server->options.max_conns) {
		close_fd(fd);
		return -EMFILE;
	}
	struct ttrpc_conn *conn = conn_new(server, fd, edge, NULL);
	if (ret_conn)
		*ret_conn = conn;
	return 0;
}

size_t ttrpc_server_calls(const struct ttrpc_server *server)
{
	return server->ncalls;
}

static void server_free_deferred(void *userdata)
{
	struct ttrpc_server *server = userdata;

	free(server->targets);
	free(server);
}

void ttrpc_server_free(struct ttrpc_server *server)
{
	struct ttrpc_conn *conn;

	if (!server)
		return;
	ttrpc_server_stop_listening(server);
	while ((conn = TAILQ_FIRST(&server->conns)))
		conn_end(conn);
	server->freed = true;
	loop_timer_free(steal_ptr(server->accept_timer));
	loop_defer(server->loop, server_free_deferred, server);
}
