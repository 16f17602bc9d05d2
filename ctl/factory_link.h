/* kiln-ctl's connection to the factory's socket. */
#pragma once

#include "base/loop.h"
#include "factory/client/factory_rpc.h"

/* Where a command looks without --socket: $KILN_FACTORY, else FACTORY_SOCKET. */
const char *factory_default_address(void);

struct factory_link {
	struct loop *loop;           /* owned */
	struct ttrpc_client *client; /* owned */
};

/* -ENOENT or -ECONNREFUSED: nothing answers there; the sentence says what to do. */
_must_check_ int factory_link_open(const char *address, struct factory_link *ret_link,
				   struct error *err);
void factory_link_done(struct factory_link *link);

/* One call of kiln.factory.v1.Factory. The caller frees *ret_response with
 * protobuf_c_message_free_unpacked(). */
_must_check_ int factory_link_call(struct factory_link *link, const char *method,
				   const ProtobufCMessage *request, unsigned timeout_s,
				   ProtobufCMessage **ret_response, struct error *err);

/* The same for a command, with timeout_s (0: usual_s) as its user gave it. NULL: it failed, and
 * that was said. */
ProtobufCMessage *factory_link_ask(struct factory_link *link, const char *method,
				   const ProtobufCMessage *request, unsigned timeout_s,
				   unsigned usual_s);

_must_check_ int factory_link_status(struct factory_link *link,
				     Kiln__Factory__V1__StatusResponse **ret_status,
				     struct error *err);
