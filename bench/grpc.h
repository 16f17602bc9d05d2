/* A gRPC client for calls of one request and one answer, over HTTP/2 on a Unix socket: what CRI is
 * spoken by. One call at a time, and it blocks: what is measured is the server.
 *
 * HTTP/2 is libnghttp2's. A request is a POST to /SERVICE/METHOD; request and answer are each a
 * message with five bytes before it (0, length in big endian), and what became of the call stands
 * in the field grpc-status of the answer's trailers.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "base/loop.h"

#define GRPC_PREFIX      5
#define GRPC_MESSAGE_MAX (16u << 20)

struct grpc_client;

/* address: as of socket_connect(). */
_must_check_ int grpc_client_new(struct loop *loop, const char *address,
				 struct grpc_client **ret_client, struct error *err);
void grpc_client_free(struct grpc_client *client);
DEFINE_CLEANUP(struct grpc_client *, grpc_client_free)

/* The caller frees *ret_response, which has the method's output type, with
 * protobuf_c_message_free_unpacked(). A status other than OK is an error with the server's
 * sentence, -ETIMEDOUT a timeout and -ECONNRESET the connection's end; after these two the client
 * is good for nothing but to be freed. -EPROTO, -EBADMSG: the answer is none. */
_must_check_ int grpc_call(struct grpc_client *client, const ProtobufCServiceDescriptor *service,
			   const char *method, const ProtobufCMessage *request, unsigned timeout_ms,
			   ProtobufCMessage **ret_response, struct error *err);

/* The body of an answer, which is to be one whole message: -EBADMSG and why where it is not. */
_must_check_ int grpc_body_parse(const void *body, size_t len,
				 const ProtobufCMessageDescriptor *type,
				 ProtobufCMessage **ret_message, struct error *err);
