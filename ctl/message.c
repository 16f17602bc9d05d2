#include "ctl/message.h"

#include <stdlib.h>

#include "base/memory.h"

static ProtobufCMessage *message_copy(const ProtobufCMessage *message)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	_cleanup_free_ uint8_t *packed = xcalloc(1, len + 1);

	protobuf_c_message_pack(message, packed);
	return protobuf_c_message_unpack(message->descriptor, NULL, len, packed);
}

int message_of_reply(const struct ttrpc_reply *reply, ProtobufCMessage **ret_message,
		     struct error *err)
{
	int r = ttrpc_reply_error(reply, err);

	if (r < 0)
		return r;
	*ret_message = message_copy(reply->response);
	return *ret_message ? 0 : error_set(err, EBADMSG, "the answer is not a message");
}
