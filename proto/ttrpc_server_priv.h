/* What the two halves of the ttRPC server know of each other: ttrpc_server.c (listening and
 * connections) and ttrpc_call.c (calls). Private to them.
 *
 * Who keeps what alive: the server owns its connections, a connection owns its stream and
 * lists its calls. A call belongs to its handler until that ends it; it outlives connection
 * and server, and then has neither. Connections are freed from the loop, never in a callback.
 */
#pragma once

#include "base/list.h"
#include "base/stream.h"
#include "proto/ttrpc.pb-c.h"
#include "proto/ttrpc_frame.h"
#include "proto/ttrpc_server.h"

/* Request bytes that calls in flight on one connection may hold together. */
#define TTRPC_HELD_MAX (16 * (size_t)TTRPC_DATA_MAX)

/* One row of the dispatch table. Everything in it is static, so calls may keep a pointer's
 * copy after the server is gone. */
struct ttrpc_target {
	const ProtobufCServiceDescriptor *service;
	const ProtobufCMethodDescriptor *method;
	ttrpc_handler handler; /* NULL: the service has the method, but it is not served */
};

struct ttrpc_listener {
	struct ttrpc_server *server; /* NULL once it listens no more */
	int fd;                      /* owned */
	struct loop_watch *watch;
	LIST_ENTRY(ttrpc_listener) entry;
};

struct ttrpc_server {
	struct loop *loop;
	struct ttrpc_server_options options; /* defaults filled in */
	struct ttrpc_target *targets;        /* owned */
	size_t ntargets;
	LIST_HEAD(ttrpc_listener_list, ttrpc_listener) listeners;
	struct loop_timer *accept_timer; /* ends a pause of accepting that no close ended */
	bool accept_paused;
	TAILQ_HEAD(ttrpc_conn_list, ttrpc_conn) conns;
	unsigned nconns; /* that are not refused */
	unsigned nrefused;
	size_t ncalls; /* somebody waits for */
	bool freed;    /* ttrpc_server_free() ran; the memory goes with the next round */
};

enum ttrpc_conn_state {
	TTRPC_CONN_OPEN,
	TTRPC_CONN_CLOSING, /* no stream any more; its end is deferred to the loop */
	TTRPC_CONN_ENDED,   /* left the server, has no calls, waits to be freed */
};

struct ttrpc_conn {
	struct ttrpc_server *server; /* NULL once ENDED */
	enum ttrpc_conn_state state;
	struct stream *stream; /* owned; NULL unless OPEN */
	struct ttrpc_reader reader;
	struct peer peer;
	int peer_error; /* negative errno where peer is not known */
	TAILQ_HEAD(ttrpc_call_list, ttrpc_call) calls;
	unsigned ncalls; /* on the list: not yet ended by their handlers */
	size_t held;     /* request bytes of those */
	char *refusal;   /* owned; why no request is taken; NULL: they are */
	bool paused;     /* the peer is too slow to be read from */
	void *data;      /* the owner's */
	TAILQ_ENTRY(ttrpc_conn) entry;
};

enum ttrpc_call_state {
	TTRPC_CALL_WAITED,    /* the peer waits for the answer */
	TTRPC_CALL_CANCELLED, /* nobody waits, the handler still works on it */
	TTRPC_CALL_ENDED,     /* the handler is through with it */
};

struct ttrpc_call {
	unsigned refs; /* the handler's, and one for each callback under way */
	enum ttrpc_call_state state;
	struct loop *loop;
	struct ttrpc_conn *conn; /* NULL once it is gone, or the call ENDED */
	struct peer peer;
	int peer_error;
	uint32_t stream;
	struct ttrpc_target target;
	Ttrpc__Request *envelope;  /* owned, its payload emptied; has the metadata */
	ProtobufCMessage *request; /* owned */
	size_t held;               /* bytes of the request frame */
	uint64_t timeout_ns;       /* 0: none */
	uint64_t deadline_ns;      /* on the monotonic clock */
	struct loop_timer *timer;
	void (*on_cancel)(struct ttrpc_call *call, void *userdata);
	void *on_cancel_data;
	TAILQ_ENTRY(ttrpc_call) entry;
};

/* Answers a stream; fds are taken. Nothing happens on a connection that is not OPEN. */
void ttrpc_conn_answer(struct ttrpc_conn *conn, uint32_t stream, Ttrpc__Response *response,
		       const int *fds, size_t nfds);
/* The same of an output that is data in its field of that number: ttrpc_frame_send_bytes(). */
void ttrpc_conn_answer_bytes(struct ttrpc_conn *conn, uint32_t stream, uint32_t field,
			     uint8_t *data, size_t len);
void ttrpc_conn_refuse(struct ttrpc_conn *conn, uint32_t stream, enum ttrpc_code code,
		       const char *fmt, ...) _printf_(4, 5);

/* Takes a request frame that may become a call. */
void ttrpc_conn_on_request(struct ttrpc_conn *conn, const struct ttrpc_frame *frame);

/* The call on this stream that the peer waits for, or NULL. */
struct ttrpc_call *ttrpc_conn_find_call(struct ttrpc_conn *conn, uint32_t stream);

/* Nobody waits for the answer any more: calls on_cancel. */
void ttrpc_call_cancel(struct ttrpc_call *call);

/* Cancels every call and leaves the connection without any. */
void ttrpc_conn_cancel_calls(struct ttrpc_conn *conn);
