/* A ttRPC server: connections, a dispatch table, and calls that are answered exactly once.
 *
 * Life of a call: the handler gets it and must end it, at once or later, with one of
 * ttrpc_call_reply(), ttrpc_call_reply_fds(), ttrpc_call_fail() or ttrpc_call_drop(); each of
 * them ends the call's use by the handler. Dropping a call unanswered answers INTERNAL. When
 * its deadline (timeout_nano of the request) passes, the caller is told DEADLINE_EXCEEDED;
 * when the peer goes, nobody is left to tell. In both cases the handler's on_cancel is called
 * once, the call stays valid, and what the handler later answers goes nowhere.
 *
 * Bounds (options): connections, calls in flight a connection, bytes a slow peer may leave
 * unread before its connection is not read from any more. Answers that come beyond four times
 * max_pending become RESOURCE_EXHAUSTED, and so do requests while those in flight on the
 * connection hold 64 MiB. A message that would grow far beyond its bytes when decoded (many
 * empty submessages) counts as one that cannot be decoded.
 *
 * An accepted connection past a bound is told so, for its end alone would say that nobody serves:
 * its requests are answered RESOURCE_EXHAUSTED. Some of those are kept, and the oldest gives way.
 *
 * A refused request is answered with a sentence and its connection lives on: no ttrpc.Request
 * or payload not of the method's input type, an even stream id: INVALID_ARGUMENT; over 4 MiB:
 * RESOURCE_EXHAUSTED; streaming, unknown frame types, services and methods: UNIMPLEMENTED. An
 * answer over 4 MiB is answered RESOURCE_EXHAUSTED instead.
 *
 * Stream ids are odd. One that is in flight is refused (INVALID_ARGUMENT); that ids increase
 * is not demanded, for a serial port may change its host side without a sign in between.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "base/loop.h"
#include "base/socket.h"
#include "proto/ttrpc.h"

struct ttrpc_server;
struct ttrpc_conn;
struct ttrpc_call;

/* request is of the method's input type and valid until the call ends. */
typedef void (*ttrpc_handler)(struct ttrpc_call *call, const ProtobufCMessage *request,
			      void *userdata);

struct ttrpc_method {
	const char *name; /* bare method name, as in the .proto */
	ttrpc_handler handler;
};

struct ttrpc_service {
	const ProtobufCServiceDescriptor *descriptor;
	const struct ttrpc_method *methods; /* static; a method not listed is UNIMPLEMENTED */
	size_t nmethods;
};

struct ttrpc_server_options {
	void *userdata;     /* given to every handler */
	unsigned max_conns; /* 0: 256 */
	/* Accepted ones of one user other than root; 0: no bound but max_conns. With it, all such
	 * users together have half of max_conns at most. */
	unsigned max_conns_of_user;
	unsigned max_calls; /* in flight a connection; 0: 1024; beyond: RESOURCE_EXHAUSTED */
	size_t max_pending; /* bytes queued to a slow peer; 0: 16 MiB */
	/* May refuse a caller (negative errno: the connection is closed); NULL: all. Asked for
	 * accepted connections (fd is borrowed); one without credentials has pid 0 and uid and
	 * gid (uid_t)-1. */
	int (*on_accept)(int fd, const struct peer *peer, void *userdata);
	/* Asked before the handler of each call; false: it has ended the call. NULL: all are
	 * handled. */
	bool (*on_call)(struct ttrpc_call *call, const ProtobufCMessage *request, void *userdata);
	/* A bound refused this caller; NULL: not interested. */
	void (*on_refuse)(const struct peer *peer, const char *why, void *userdata);
	/* A connection ended, after all its calls were cancelled; NULL: not interested. */
	void (*on_conn_end)(struct ttrpc_conn *conn, void *userdata);
};

struct ttrpc_server *ttrpc_server_new(struct loop *loop,
				      const struct ttrpc_server_options *options);

/* Adds a service; a listed method that the descriptor does not have aborts. */
void ttrpc_server_add(struct ttrpc_server *server, const struct ttrpc_service *service);

/* Accepts on a listening socket (taken). May be called for several. */
void ttrpc_server_listen(struct ttrpc_server *server, int fd);
void ttrpc_server_stop_listening(struct ttrpc_server *server);

/* Serves one connected stream (taken). edge: see struct stream_options. Fails with -EMFILE at
 * max_conns, and then fd is closed. */
_must_check_ int ttrpc_server_serve(struct ttrpc_server *server, int fd, bool edge,
				    struct ttrpc_conn **ret_conn);

/* Calls that a peer waits for, over all connections; a clean shutdown waits for 0. */
size_t ttrpc_server_calls(const struct ttrpc_server *server);

/* Ends every connection, with its on_cancel and on_conn_end, before it returns. Calls still
 * held by handlers stay valid and answer into nothing. */
void ttrpc_server_free(struct ttrpc_server *server);
DEFINE_CLEANUP(struct ttrpc_server *, ttrpc_server_free)

void ttrpc_call_reply(struct ttrpc_call *call, const ProtobufCMessage *response);
/* fds (at most SOCKET_MAX_FDS) are taken and travel with the response (Unix sockets only). */
void ttrpc_call_reply_fds(struct ttrpc_call *call, const ProtobufCMessage *response, const int *fds,
			  size_t nfds);
/* The same on the wire as a reply with an output whose one field is these bytes (at least one),
 * which are not copied before they are sent: data has TTRPC_HEADROOM bytes before it, which are
 * written over. */
void ttrpc_call_reply_bytes(struct ttrpc_call *call, uint8_t *data, size_t len);
/* err is borrowed; its number becomes the code, its sentence the message. */
void ttrpc_call_fail(struct ttrpc_call *call, const struct error *err);
void ttrpc_call_fail_code(struct ttrpc_call *call, enum ttrpc_code code, const char *fmt, ...)
	_printf_(3, 4);
void ttrpc_call_drop(struct ttrpc_call *call);
DEFINE_CLEANUP(struct ttrpc_call *, ttrpc_call_drop)

/* fn is called once when nobody waits for the answer any more; at once from the loop where
 * that is so already. */
void ttrpc_call_on_cancel(struct ttrpc_call *call,
			  void (*fn)(struct ttrpc_call *call, void *userdata), void *userdata);
bool ttrpc_call_cancelled(const struct ttrpc_call *call);

const char *ttrpc_call_method(const struct ttrpc_call *call);
const char *ttrpc_call_metadata(const struct ttrpc_call *call, const char *key); /* or NULL */
/* Milliseconds until the deadline; UINT64_MAX where there is none. */
uint64_t ttrpc_call_time_left(const struct ttrpc_call *call);
/* Identity of the caller; -ENOTSOCK on a stream that has none. */
_must_check_ int ttrpc_call_peer(const struct ttrpc_call *call, struct peer *ret_peer);
/* The connection, to be compared in on_conn_end; NULL once it is gone. */
struct ttrpc_conn *ttrpc_call_conn(const struct ttrpc_call *call);

/* Closes at once and drops unread answers; on_cancel and on_conn_end follow from the loop. */
void ttrpc_conn_close(struct ttrpc_conn *conn);
