/* Messages of protobuf. */
#pragma once

#include <protobuf-c/protobuf-c.h>

/* The same in memory of its own, for what a callback was only lent; NULL where a stranger has put
 * something into it that cannot be packed again. The caller frees it with
 * protobuf_c_message_free_unpacked(). */
ProtobufCMessage *message_copy(const ProtobufCMessage *message);
