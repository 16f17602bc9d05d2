/* Frames out of bytes and back: what the ttRPC client and server share, private to them.
 *
 * A frame over 4 MiB is never buffered: its bytes are thrown away as they come, and it is
 * reported once its last byte has passed, so that the stream goes on with the next frame.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "base/stream.h"
#include "proto/ttrpc.h"

struct ttrpc_reader {
	struct evbuffer *buffer;    /* owned; bytes of frames not yet reported */
	struct ttrpc_header header; /* of the frame being discarded */
	uint32_t discard;           /* bytes of it still to come */
	bool discarding;
	size_t reported; /* bytes at the front that belong to the frame last reported */
};

struct ttrpc_frame {
	struct ttrpc_header header;
	const uint8_t *data; /* header.length bytes, borrowed until the reader is used again */
	bool oversize;       /* it was discarded and has no data */
};

void ttrpc_reader_init(struct ttrpc_reader *reader);
void ttrpc_reader_done(struct ttrpc_reader *reader);

/* Takes all that input holds. */
void ttrpc_reader_add(struct ttrpc_reader *reader, struct evbuffer *input);

/* The next whole frame; false until more bytes are added. */
bool ttrpc_reader_next(struct ttrpc_reader *reader, struct ttrpc_frame *ret_frame);

/* True between frames, with no byte of a next one there. */
bool ttrpc_reader_idle(const struct ttrpc_reader *reader);

/* Queues message as one frame; fds are taken on success only. -EMSGSIZE over 4 MiB. */
_must_check_ int ttrpc_frame_send(struct stream *stream, uint32_t id, enum ttrpc_type type,
				  const ProtobufCMessage *message, const int *fds, size_t nfds);

/* The same frame as for a Response without status or descriptors, whose payload is a message of
 * nothing but the bytes field number `field`; nothing is copied before it is sent. data has
 * TTRPC_HEADROOM bytes before it, which are written over. */
_must_check_ int ttrpc_frame_send_bytes(struct stream *stream, uint32_t id, uint32_t field,
					uint8_t *data, size_t len);

/* A message out of a peer's bytes, or NULL. The caller frees it with
 * protobuf_c_message_free_unpacked(m, NULL). Two bytes can decode to a hundred (an empty
 * submessage): one that needs more than 4 MiB and eight times its bytes is no message either. */
ProtobufCMessage *ttrpc_unpack(const ProtobufCMessageDescriptor *descriptor, const void *data,
			       size_t len);

/* The method's input or output as bytes; the caller frees *ret_data. */
void ttrpc_pack(const ProtobufCMessage *message, ProtobufCBinaryData *ret_data);

/* A copy fit for a sentence that others print or put on a wire: UTF-8 without control
 * characters, at most max bytes. The caller frees. */
char *ttrpc_sentence(const char *text, size_t max);
