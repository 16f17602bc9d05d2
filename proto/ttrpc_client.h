/* A ttRPC client: many calls in flight over one stream.
 *
 * A call is a value that its caller holds. It ends by its callback, exactly once and never from
 * within ttrpc_client_call(), or by ttrpc_pending_cancel(), after which no callback comes. (The
 * same holds of QEMU's monitor: proto/qmp.h.) So whoever calls has one path for failures, and
 * whoever ends cancels what it has called.
 *
 * A call ends with its response, with DEADLINE_EXCEEDED when its timeout passes, with
 * UNAVAILABLE when the connection ends, or has ended before, and with RESOURCE_EXHAUSTED where
 * the request is over 4 MiB or a bound is passed. An answer over 4 MiB is RESOURCE_EXHAUSTED,
 * one that cannot be decoded INTERNAL; frames for no call in flight are ignored.
 *
 * Descriptors: a response says how many came with it (field "fds" of ttrpc.Response, Kiln's
 * own), for bytes read ahead may bring the descriptors of later responses along.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "base/loop.h"
#include "proto/ttrpc.h"

struct ttrpc_client;
struct ttrpc_pending; /* a call in flight */

struct ttrpc_client_options {
	uint32_t first_stream; /* odd; 0: 1. A taken-over channel goes on counting. */
	unsigned max_calls;    /* in flight; 0: 1024 */
	size_t max_pending;    /* bytes the peer has not taken; 0: 16 MiB */
	/* The connection ended, after all calls have been answered UNAVAILABLE; may be NULL. The
	 * client stays valid (calls fail at once) until freed. */
	void (*on_end)(struct ttrpc_client *client, int reason, void *userdata);
	void *userdata;
};

struct ttrpc_reply {
	enum ttrpc_code code;
	const char *message; /* sentence of a failure; "" for OK. Valid in the callback. */
	const ProtobufCMessage *response; /* of the method's output type; NULL unless OK. Ditto. */
	int *fds; /* received with the response; steal_fd() what is kept, the rest is closed */
	size_t nfds;
};

typedef void (*ttrpc_reply_fn)(const struct ttrpc_reply *reply, void *userdata);

struct ttrpc_call_options {
	const ProtobufCServiceDescriptor *service;
	const char *method;
	const ProtobufCMessage *request; /* borrowed, encoded before the call returns */
	uint64_t timeout_ms;             /* sent along as timeout_nano; 0: none */
	const char *const *metadata;     /* key, value, key, value, ..., NULL; or NULL */
	ttrpc_reply_fn on_reply;         /* NULL: the answer does not matter */
	void *userdata;
};

/* Takes fd. */
struct ttrpc_client *ttrpc_client_new(struct loop *loop, int fd,
				      const struct ttrpc_client_options *options);

/* Calls in flight get their callback with CANCELLED before this returns. */
void ttrpc_client_free(struct ttrpc_client *client);
DEFINE_CLEANUP(struct ttrpc_client *, ttrpc_client_free)

/* The service has the method, and the request is of its input type (else abort). What is returned
 * is valid until on_reply has been called, and need not be kept. */
struct ttrpc_pending *ttrpc_client_call(struct ttrpc_client *client,
					const struct ttrpc_call_options *options);

/* NULL does nothing. */
void ttrpc_pending_cancel(struct ttrpc_pending *pending);

/* Whether the connection is there still, as far as is known. */
bool ttrpc_client_connected(const struct ttrpc_client *client);

/* The same, turning the loop until the answer is there: for command lines and tests. The
 * caller frees *ret_response with protobuf_c_message_free_unpacked(); ret_fds (up to *nfds,
 * which is updated) may be NULL. -ECANCELED: loop_stop() was called, which goes on counting for
 * the loop's next run; a late answer is ignored. */
_must_check_ int ttrpc_client_call_wait(struct ttrpc_client *client, struct loop *loop,
					const struct ttrpc_call_options *options,
					ProtobufCMessage **ret_response, int *ret_fds, size_t *nfds,
					struct error *err);

/* A failed reply as an error; returns it negative, 0 for OK. */
int ttrpc_reply_error(const struct ttrpc_reply *reply, struct error *err);

/* Hands the stream over: the fd and the next stream id. -EBUSY while calls are in flight or
 * bytes are unread; else the client is freed. */
_must_check_ int ttrpc_client_detach(struct ttrpc_client *client, int *ret_fd,
				     uint32_t *ret_stream);
