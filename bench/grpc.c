#include "bench/grpc.h"

#include <endian.h>
#include <event2/buffer.h>
#include <nghttp2/nghttp2.h>

#include "base/memory.h"
#include "base/strbuf.h"
#include "base/stream.h"
#include "proto/ttrpc.h"

#define STATUS_LARGEST 16

struct grpc_client {
	struct loop *loop;        /* borrowed */
	struct stream *stream;    /* owned */
	nghttp2_session *session; /* owned */
	bool ended;               /* the connection */

	/* The call. */
	struct strbuf request; /* with its prefix */
	size_t sent;           /* bytes of it */
	struct strbuf answer;
	struct strbuf sentence; /* grpc-message */
	int32_t id;             /* of its HTTP/2 stream; 0: there is none */
	int status;             /* of grpc-status; -1: none was said */
	bool too_long;
	bool done;
};

/* ---------------------------------------------------------------- HTTP/2 */

static bool is_field(const char *name, const uint8_t *at, size_t len)
{
	return strlen(name) == len && memcmp(name, at, len) == 0;
}

static int on_header(nghttp2_session *session _unused_, const nghttp2_frame *frame,
		     const uint8_t *name, size_t name_len, const uint8_t *value, size_t value_len,
		     uint8_t flags _unused_, void *userdata)
{
	struct grpc_client *client = userdata;
	uint64_t status;

	if (frame->hd.stream_id != client->id)
		return 0;
	if (is_field("grpc-message", name, name_len)) {
		strbuf_add(&client->sentence, value, value_len);
	} else if (is_field("grpc-status", name, name_len)) {
		/* nghttp2 ends a value with a zero byte. */
		if (str_to_u64((const char *)value, 0, STATUS_LARGEST, &status) == 0)
			client->status = (int)status;
	}
	return 0;
}

static int on_body(nghttp2_session *session _unused_, uint8_t flags _unused_, int32_t id,
		   const uint8_t *data, size_t len, void *userdata)
{
	struct grpc_client *client = userdata;

	if (id != client->id)
		return 0;
	client->too_long = client->too_long ||
			   client->answer.len + len > GRPC_MESSAGE_MAX + GRPC_PREFIX;
	if (!client->too_long)
		strbuf_add(&client->answer, data, len);
	return 0;
}

static int on_close(nghttp2_session *session _unused_, int32_t id, uint32_t code _unused_,
		    void *userdata)
{
	struct grpc_client *client = userdata;

	client->done = client->done || id == client->id;
	return 0;
}

static ssize_t read_request(nghttp2_session *session _unused_, int32_t id _unused_, uint8_t *buffer,
			    size_t size, uint32_t *flags, nghttp2_data_source *source,
			    void *userdata _unused_)
{
	struct grpc_client *client = source->ptr;
	size_t left = client->request.len - client->sent;
	size_t len = left < size ? left : size;

	memcpy(buffer, client->request.text + client->sent, len);
	client->sent += len;
	if (len == left)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)len;
}

/* The connection cannot be used any more. */
static void end(struct grpc_client *client)
{
	client->ended = true;
	client->done = true;
}

static void send_queued(struct grpc_client *client)
{
	const uint8_t *data;
	ssize_t len;

	while ((len = nghttp2_session_mem_send(client->session, &data)) > 0)
		stream_write(client->stream, data, (size_t)len, NULL, 0);
	/* One that said what is no HTTP/2 was told so, and is not listened to any more. */
	if (len < 0 || (!nghttp2_session_want_read(client->session) &&
			!nghttp2_session_want_write(client->session)))
		end(client);
}

static void on_data(struct stream *stream _unused_, struct evbuffer *input, void *userdata)
{
	struct grpc_client *client = userdata;
	size_t len = evbuffer_get_length(input);

	if (nghttp2_session_mem_recv(client->session, evbuffer_pullup(input, -1), len) < 0)
		end(client);
	evbuffer_drain(input, len);
	send_queued(client);
}

static void on_end(struct stream *stream _unused_, int reason _unused_, void *userdata)
{
	end(userdata);
}

/* ---------------------------------------------------------------- the client */

static nghttp2_session *session_new(struct grpc_client *client)
{
	nghttp2_session_callbacks *callbacks = NULL;
	nghttp2_session *session = NULL;

	if (nghttp2_session_callbacks_new(&callbacks) < 0)
		return NULL;
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_body);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
	if (nghttp2_session_client_new(&session, callbacks, client) < 0)
		session = NULL;
	nghttp2_session_callbacks_del(callbacks);
	return session;
}

int grpc_client_new(struct loop *loop, const char *address, struct grpc_client **ret_client,
		    struct error *err)
{
	_cleanup_(grpc_client_free_cleanup) struct grpc_client *client = xnew(struct grpc_client);
	int fd;

	client->loop = loop;
	client->session = session_new(client);
	if (!client->session || nghttp2_submit_settings(client->session, 0, NULL, 0) < 0)
		return error_set(err, ENOMEM, "cannot begin HTTP/2 with %s: out of memory",
				 address);
	int r = socket_connect(address, &fd, err);
	if (r < 0)
		return r;
	const struct stream_options options = { .on_data = on_data,
						.on_end = on_end,
						.userdata = client };
	client->stream = stream_new(loop, fd, &options);
	*ret_client = steal_ptr(client);
	return 0;
}

void grpc_client_free(struct grpc_client *client)
{
	if (!client)
		return;
	nghttp2_session_del(client->session);
	stream_free(client->stream);
	strbuf_done(&client->request);
	strbuf_done(&client->answer);
	strbuf_done(&client->sentence);
	free(client);
}

/* ---------------------------------------------------------------- a call */

static void put_request(struct grpc_client *client, const ProtobufCMessage *request)
{
	size_t len = protobuf_c_message_get_packed_size(request);
	_cleanup_free_ uint8_t *body = xnew_array(uint8_t, GRPC_PREFIX + len);
	uint32_t length = htobe32((uint32_t)len);

	memcpy(body + 1, &length, sizeof(length));
	protobuf_c_message_pack(request, body + GRPC_PREFIX);
	strbuf_add(&client->request, body, GRPC_PREFIX + len);
}

static nghttp2_nv field(const char *name, const char *value)
{
	return (nghttp2_nv){ (uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value), 0 };
}

/* nghttp2 copies the fields, and reads the body from the client's buffer. */
static int submit(struct grpc_client *client, const char *path)
{
	const nghttp2_nv fields[] = {
		field(":method", "POST"),
		field(":scheme", "http"),
		field(":path", path),
		field(":authority", "localhost"),
		field("content-type", "application/grpc"),
		field("te", "trailers"),
	};
	const nghttp2_data_provider body = { { .ptr = client }, read_request };

	return nghttp2_submit_request(client->session, NULL, fields, ARRAY_SIZE(fields), &body,
				      NULL);
}

int grpc_body_parse(const void *body, size_t len, const ProtobufCMessageDescriptor *type,
		    ProtobufCMessage **ret_message, struct error *err)
{
	const uint8_t *at = body;
	uint32_t length;

	if (len < GRPC_PREFIX)
		return error_set(err, EBADMSG, "an answer of %zu bytes is no %s", len, type->name);
	memcpy(&length, at + 1, sizeof(length));
	if (at[0] != 0)
		return error_set(err, EBADMSG, "the answer is compressed, which nobody asked for");
	if (be32toh(length) != len - GRPC_PREFIX)
		return error_set(err, EBADMSG, "%zu bytes came of an answer of %u",
				 len - GRPC_PREFIX, be32toh(length));
	*ret_message = protobuf_c_message_unpack(type, NULL, len - GRPC_PREFIX, at + GRPC_PREFIX);
	return *ret_message ? 0 : error_set(err, EBADMSG, "the answer is no %s", type->name);
}

static int take_answer(const struct grpc_client *client, const ProtobufCMessageDescriptor *type,
		       ProtobufCMessage **ret_response, struct error *err)
{
	if (client->ended && client->status < 0)
		return error_set(err, ECONNRESET, "the connection has ended");
	if (client->too_long)
		return error_set(err, EPROTO, "the answer is longer than %u bytes",
				 GRPC_MESSAGE_MAX);
	if (client->status < 0)
		return error_set(err, EPROTO, "the answer does not say what became of the call");
	if (client->status != TTRPC_OK)
		return error_set(err, ttrpc_code_to_errno((enum ttrpc_code)client->status),
				 "%s: %s", ttrpc_code_to_string((enum ttrpc_code)client->status),
				 strbuf_text(&client->sentence));
	return grpc_body_parse(strbuf_text(&client->answer), client->answer.len, type, ret_response,
			       err);
}

static int call_path(struct grpc_client *client, const char *path, const ProtobufCMessage *request,
		     const ProtobufCMessageDescriptor *output, unsigned timeout_ms,
		     ProtobufCMessage **ret_response, struct error *err)
{
	strbuf_done(&client->request);
	strbuf_done(&client->answer);
	strbuf_done(&client->sentence);
	client->sent = 0;
	client->status = -1;
	client->too_long = false;
	client->done = client->ended;
	put_request(client, request);
	client->id = submit(client, path);
	if (client->id < 0)
		return error_set(err, EIO, "%s", nghttp2_strerror(client->id));
	send_queued(client);
	if (!loop_run_until(client->loop, &client->done, timeout_ms))
		return error_set(err, ETIMEDOUT, "no answer within %u s", timeout_ms / 1000);
	return take_answer(client, output, ret_response, err);
}

int grpc_call(struct grpc_client *client, const ProtobufCServiceDescriptor *service,
	      const char *method, const ProtobufCMessage *request, unsigned timeout_ms,
	      ProtobufCMessage **ret_response, struct error *err)
{
	_cleanup_free_ char *path = xasprintf("/%s/%s", service->name, method);
	const ProtobufCMethodDescriptor *found = protobuf_c_service_descriptor_get_method_by_name(
		service, method);

	if (!found)
		return error_set(err, EINVAL, "%s has no method %s", service->name, method);
	int r = call_path(client, path, request, found->output, timeout_ms, ret_response, err);
	if (r < 0)
		error_wrap(err, "%s", method);
	return r;
}
