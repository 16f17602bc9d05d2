/* JSON into messages and hostile messages into JSON. What was read must be writable, and what
 * was written must be read again to the same bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "proto/agent.pb-c.h"
#include "proto/factory.pb-c.h"
#include "proto/pbjson.h"
#include "proto/task.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ProtobufCMessageDescriptor *const descriptors[] = {
	&grpc__spec__descriptor,
	&grpc__create_container_request__descriptor,
	&grpc__mem_agent_compact_config__descriptor,
	&grpc__stats_container_response__descriptor,
	&kiln__factory__v1__status_response__descriptor,
	&containerd__task__v2__state_response__descriptor,
};

static char *pack(const ProtobufCMessage *message, size_t *ret_len)
{
	*ret_len = protobuf_c_message_get_packed_size(message);
	char *raw = malloc(*ret_len + 1);
	protobuf_c_message_pack(message, (uint8_t *)raw);
	return raw;
}

static void round_trip(const ProtobufCMessage *message, unsigned flags)
{
	json_t *json = pbjson_from_message(message, flags);
	ProtobufCMessage *again = NULL;

	if (pbjson_to_message(message->descriptor, json, PBJSON_STRICT, &again, NULL) < 0)
		abort();
	size_t len_a, len_b;
	_cleanup_free_ char *a = pack(message, &len_a);
	_cleanup_free_ char *b = pack(again, &len_b);
	if (len_a != len_b || memcmp(a, b, len_a) != 0)
		abort();
	json_decref(json);
	protobuf_c_message_free_unpacked(again, NULL);
}

static void from_text(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data,
		      size_t size, unsigned flags)
{
	_cleanup_(error_done) struct error err = {};
	ProtobufCMessage *message = NULL;
	json_t *json;

	if (pbjson_parse((const char *)data, size, &json, &err) < 0)
		return;
	if (pbjson_to_message(descriptor, json, flags & PBJSON_STRICT, &message, &err) == 0) {
		round_trip(message, flags & PBJSON_EMIT_DEFAULTS);
		protobuf_c_message_free_unpacked(message, NULL);
	}
	json_decref(json);
}

/* Of a hostile message only that it can be shown: JSON cannot hold its bytes that are no UTF-8
 * or a map's key given twice. */
static void from_wire(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data,
		      size_t size, unsigned flags)
{
	ProtobufCMessage *message = protobuf_c_message_unpack(descriptor, NULL, size, data);
	if (!message)
		return;
	json_t *json = pbjson_from_message(message, flags);
	_cleanup_free_ char *text = json_dumps(json, 0);
	if (!text)
		abort();
	json_decref(json);
	protobuf_c_message_free_unpacked(message, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	const ProtobufCMessageDescriptor *descriptor =
		descriptors[(data[0] >> 3) % ARRAY_SIZE(descriptors)];
	if (data[0] & 4)
		from_wire(descriptor, data + 1, size - 1, data[0] & 3);
	else
		from_text(descriptor, data + 1, size - 1, data[0] & 3);
	return 0;
}
