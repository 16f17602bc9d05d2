/* Calls to the guest's agent, for as long as there is one.
 *
 * A call gets exactly one callback, never from within agent_call(): also when the link is down
 * already (UNAVAILABLE) or a bound is reached (RESOURCE_EXHAUSTED). So callers have one path for
 * failures. Or it is cancelled, and none follows.
 *
 * The guest is lost when a call is answered UNAVAILABLE, which means that its end is gone, or when
 * somebody who has waited for too long calls agent_link_give_up(). Then on_lost is called, once,
 * from the loop.
 */
#pragma once

#include "proto/ttrpc_client.h"

struct agent_link;
struct agent_call; /* in flight */

enum guest_loss {
	GUEST_GONE,   /* it has ended */
	GUEST_SILENT, /* it is there, and does not do what it must: its machine is to be ended */
};

typedef void (*guest_lost_fn)(enum guest_loss loss, void *userdata);

/* client is borrowed until another one is set, or none. */
struct agent_link *agent_link_new(struct loop *loop, struct ttrpc_client *client,
				  guest_lost_fn on_lost, void *userdata);
void agent_link_free(struct agent_link *link);
DEFINE_CLEANUP(struct agent_link *, agent_link_free)

/* Connects a link made without a client, or takes the client away (NULL). */
void agent_link_set(struct agent_link *link, struct ttrpc_client *client);

/* request is borrowed, as in ttrpc_client_call(). timeout_ms 0: none. on_reply may be NULL. What is
 * returned is valid until on_reply has been called, and need not be kept. */
struct agent_call *agent_call(struct agent_link *link, const char *method,
			      const ProtobufCMessage *request, uint64_t timeout_ms,
			      ttrpc_reply_fn on_reply, void *userdata);

/* The same, of another service than the agent protocol's own. */
struct agent_call *agent_call_service(struct agent_link *link,
				      const ProtobufCServiceDescriptor *service, const char *method,
				      const ProtobufCMessage *request, uint64_t timeout_ms,
				      ttrpc_reply_fn on_reply, void *userdata);

/* For somebody who has waited too long for the guest: it is lost, as GUEST_SILENT. */
void agent_link_give_up(struct agent_link *link);

/* No callback follows; the guest is not told. NULL does nothing. */
void agent_call_cancel(struct agent_call *call);
