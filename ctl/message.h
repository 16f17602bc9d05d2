/* Messages of protobuf. */
#pragma once

#include <protobuf-c/protobuf-c.h>

/* The same in memory of its own, for what a callback was only lent. The caller frees it with
 * protobuf_c_message_free_unpacked(). */
ProtobufCMessage *message_copy(const ProtobufCMessage *message);
