/* Messages of protobuf. */
#pragma once

#include "proto/ttrpc_client.h"

/* A reply's message in memory of its own: the callback is only lent it. The caller frees it with
 * protobuf_c_message_free_unpacked(). Fails as the call did; -EBADMSG where a stranger has put
 * something into the message that cannot be packed again. */
_must_check_ int message_of_reply(const struct ttrpc_reply *reply, ProtobufCMessage **ret_message,
				  struct error *err);
