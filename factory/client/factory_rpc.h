/* The client's end of the factory's socket (kiln.factory.v1.Factory), for claims, kiln-ctl and
 * kiln-bench. */
#pragma once

#include "base/loop.h"
#include "proto/factory.pb-c.h"
#include "proto/ttrpc_client.h"

#define FACTORY_SOCKET "/run/kiln/factory.sock"

/* -ENOENT, -ECONNREFUSED: nobody is there; -EAGAIN: somebody is, whose queue of connections is
 * full; -EACCES. The sentence says what to do. */
_must_check_ int factory_rpc_connect(struct loop *loop, const char *address,
				     struct ttrpc_client **ret_factory, struct error *err);

/* Once; number 0: the client is the callee's. Errors are factory_rpc_connect()'s. */
typedef void (*factory_dial_fn)(int number, struct ttrpc_client *factory, const struct error *err,
				void *userdata);

struct factory_dial_options {
	const char *address; /* borrowed during the call */
	uint64_t timeout_ms; /* to wait for room in the factory's queue */
	factory_dial_fn fn;
	void *userdata;
};

/* The same for who can wait: a factory whose queue is full is busy, and not away. Where it has room
 * fn is called at once, else from the loop; an error of the first attempt other than -EAGAIN is
 * returned, and fn is not called then. */
_must_check_ int factory_dial(struct loop *loop, const struct factory_dial_options *options,
			      struct error *err);

/* As ttrpc_client_call(). */
struct ttrpc_pending *factory_rpc_call(struct ttrpc_client *factory, const char *method,
				       const ProtobufCMessage *request, uint64_t timeout_ms,
				       ttrpc_reply_fn fn, void *userdata);

/* Turns the loop until the answer is there. The caller frees *ret_response (may be NULL) with
 * protobuf_c_message_free_unpacked(). */
_must_check_ int factory_rpc_call_wait(struct ttrpc_client *factory, struct loop *loop,
				       const char *method, const ProtobufCMessage *request,
				       uint64_t timeout_ms, ProtobufCMessage **ret_response,
				       struct error *err);
