/* The client's end of the factory's socket (kiln.factory.v1.Factory), for claims, kiln-ctl and
 * kiln-bench. */
#pragma once

#include "base/loop.h"
#include "proto/factory.pb-c.h"
#include "proto/ttrpc_client.h"

#define FACTORY_SOCKET "/run/kiln/factory.sock"

/* -ENOENT, -ECONNREFUSED: nobody is there; -EAGAIN: its queue of connections is full; -EACCES.
 * The sentence says what to do. */
_must_check_ int factory_rpc_connect(struct loop *loop, const char *address,
				     struct ttrpc_client **ret_factory, struct error *err);

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
