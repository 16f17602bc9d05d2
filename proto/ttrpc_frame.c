#include "proto/ttrpc_frame.h"

#include <errno.h>
#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>

#include "base/memory.h"
#include "base/strings.h"

enum { UNPACK_FLOOR = 4 << 20, UNPACK_FACTOR = 8 };

/* protobuf's encoding. */
enum {
	VARINT_BITS = 7,
	VARINT_MASK = 0x7f,
	VARINT_MORE = 0x80,
	WIRE_TYPE_BITS = 3,
	WIRE_TYPE_LENGTH_PREFIXED = 2,
	RESPONSE_PAYLOAD = 2, /* number of the field in ttrpc.Response */
};

void ttrpc_reader_init(struct ttrpc_reader *reader)
{
	*reader = (struct ttrpc_reader){ .buffer = evbuffer_new() };
	if (!reader->buffer)
		abort();
}

void ttrpc_reader_done(struct ttrpc_reader *reader)
{
	if (reader->buffer)
		evbuffer_free(reader->buffer);
	*reader = (struct ttrpc_reader){};
}

void ttrpc_reader_add(struct ttrpc_reader *reader, struct evbuffer *input)
{
	evbuffer_drain(reader->buffer, reader->reported);
	reader->reported = 0;
	/* Copied, not moved: a peer that dribbles would make us hold a nearly empty read buffer
	 * for each of its bytes. */
	for (size_t len; (len = evbuffer_get_contiguous_space(input)) > 0;) {
		if (evbuffer_add(reader->buffer, evbuffer_pullup(input, (ssize_t)len), len) < 0)
			abort();
		evbuffer_drain(input, len);
	}
}

static bool reader_next_discarded(struct ttrpc_reader *reader, struct ttrpc_frame *ret_frame)
{
	size_t chunk = MIN(evbuffer_get_length(reader->buffer), (size_t)reader->discard);

	evbuffer_drain(reader->buffer, chunk);
	reader->discard -= (uint32_t)chunk;
	if (reader->discard > 0)
		return false;
	reader->discarding = false;
	*ret_frame = (struct ttrpc_frame){ .header = reader->header, .oversize = true };
	return true;
}

bool ttrpc_reader_next(struct ttrpc_reader *reader, struct ttrpc_frame *ret_frame)
{
	uint8_t raw[TTRPC_HEADER_SIZE];
	struct ttrpc_header header;

	evbuffer_drain(reader->buffer, reader->reported);
	reader->reported = 0;
	if (reader->discarding)
		return reader_next_discarded(reader, ret_frame);
	if (evbuffer_copyout(reader->buffer, raw, sizeof(raw)) < (ssize_t)sizeof(raw))
		return false;

	ttrpc_header_decode(raw, &header);
	if (header.length > TTRPC_DATA_MAX) {
		evbuffer_drain(reader->buffer, sizeof(raw));
		reader->header = header;
		reader->discard = header.length;
		reader->discarding = true;
		return reader_next_discarded(reader, ret_frame);
	}
	size_t whole = sizeof(raw) + header.length;
	if (evbuffer_get_length(reader->buffer) < whole)
		return false;

	const uint8_t *bytes = evbuffer_pullup(reader->buffer, (ssize_t)whole);
	if (!bytes)
		abort();
	reader->reported = whole;
	*ret_frame = (struct ttrpc_frame){ .header = header, .data = bytes + sizeof(raw) };
	return true;
}

bool ttrpc_reader_idle(const struct ttrpc_reader *reader)
{
	return !reader->discarding && evbuffer_get_length(reader->buffer) == reader->reported;
}

int ttrpc_frame_send(struct stream *stream, uint32_t id, enum ttrpc_type type,
		     const ProtobufCMessage *message, const int *fds, size_t nfds)
{
	size_t size = protobuf_c_message_get_packed_size(message);

	if (size > TTRPC_DATA_MAX)
		return -EMSGSIZE;

	_cleanup_free_ uint8_t *raw = xrealloc_array(NULL, TTRPC_HEADER_SIZE + size, 1);
	struct ttrpc_header header = { .length = (uint32_t)size, .stream = id, .type = type };
	ttrpc_header_encode(&header, raw);
	protobuf_c_message_pack(message, raw + TTRPC_HEADER_SIZE);
	stream_write(stream, raw, TTRPC_HEADER_SIZE + size, fds, nfds);
	return 0;
}

static uint8_t *prepend_varint(uint8_t *to, uint64_t value)
{
	size_t len = 1;

	for (uint64_t rest = value >> VARINT_BITS; rest > 0; rest >>= VARINT_BITS)
		len++;
	to -= len;
	for (size_t i = 0; i < len; i++, value >>= VARINT_BITS)
		to[i] = (uint8_t)((value & VARINT_MASK) | (i + 1 < len ? VARINT_MORE : 0));
	return to;
}

/* What stands before the len bytes of a bytes field. */
static uint8_t *prepend_field(uint8_t *to, uint32_t field, size_t len)
{
	to = prepend_varint(to, len);
	return prepend_varint(to, (uint64_t)field << WIRE_TYPE_BITS | WIRE_TYPE_LENGTH_PREFIXED);
}

int ttrpc_frame_send_bytes(struct stream *stream, uint32_t id, uint32_t field, uint8_t *data,
			   size_t len)
{
	uint8_t *end = data + len;
	uint8_t *front = prepend_field(data, field, len);

	front = prepend_field(front, RESPONSE_PAYLOAD, (size_t)(end - front));

	size_t size = (size_t)(end - front);
	struct ttrpc_header header = {
		.length = (uint32_t)size,
		.stream = id,
		.type = TTRPC_RESPONSE,
	};

	if (size > TTRPC_DATA_MAX)
		return -EMSGSIZE;
	front -= TTRPC_HEADER_SIZE;
	ttrpc_header_encode(&header, front);
	stream_write(stream, front, TTRPC_HEADER_SIZE + size, NULL, 0);
	return 0;
}

/* protobuf-c takes memory from these; what is left of the budget is the userdata. The memory
 * itself is malloc's, so that free() and protobuf-c's default allocator can release it. */
static void *budget_alloc(void *userdata, size_t size)
{
	size_t *left = userdata;

	if (size > *left)
		return NULL;
	*left -= size;
	return xrealloc_array(NULL, size, 1);
}

static void budget_free(void *userdata _unused_, void *data)
{
	free(data);
}

ProtobufCMessage *ttrpc_unpack(const ProtobufCMessageDescriptor *descriptor, const void *data,
			       size_t len)
{
	size_t left = UNPACK_FLOOR + UNPACK_FACTOR * len;
	ProtobufCAllocator allocator = {
		.alloc = budget_alloc,
		.free = budget_free,
		.allocator_data = &left,
	};

	return protobuf_c_message_unpack(descriptor, &allocator, len, data);
}

void ttrpc_pack(const ProtobufCMessage *message, ProtobufCBinaryData *ret_data)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	uint8_t *data = xrealloc_array(NULL, size > 0 ? size : 1, 1);

	protobuf_c_message_pack(message, data);
	*ret_data = (ProtobufCBinaryData){ .len = size, .data = data };
}

char *ttrpc_sentence(const char *text, size_t max)
{
	const unsigned char *from = (const unsigned char *)(text ? text : "");
	size_t room = MIN(strlen((const char *)from), max);
	char *copy = xnew_array(char, room + 1);
	size_t len = 0;

	while (*from) {
		bool shown;
		size_t step = str_character((const char *)from, &shown);
		if (len + step > room)
			break;
		if (!shown) {
			copy[len++] = *from < 0x20 || *from == 0x7f ? ' ' : '?';
			from += step;
			continue;
		}
		memcpy(copy + len, from, step);
		len += step;
		from += step;
	}
	return copy;
}
