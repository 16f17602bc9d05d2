#include "proto/ttrpc_client.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/memory.h"
#include "base/stream.h"
#include "base/trace.h"
#include "proto/ttrpc.pb-c.h"
#include "proto/ttrpc_frame.h"

enum {
	DEFAULT_MAX_CALLS = 1024,
	DEFAULT_MAX_PENDING = 16 << 20,
	SENTENCE_MAX = 4096,
	NS_PER_MS = 1000000,
};

struct ttrpc_pending {
	struct ttrpc_client *client;
	uint64_t number; /* they count up */
	uint32_t stream; /* 0: it could not be sent */
	const ProtobufCServiceDescriptor *service;
	const ProtobufCMethodDescriptor *method;
	uint64_t timeout_ms;
	struct loop_timer *timer; /* NULL where it was sent, and has no timeout */
	ttrpc_reply_fn on_reply;  /* may be NULL */
	void *userdata;
	ProtobufCMessage **ret_response; /* of a waiting caller, who then owns it; or NULL */
	int unsent;                      /* why it could not be sent; 0: it was */
	TAILQ_ENTRY(ttrpc_pending) entry;
};

struct ttrpc_client {
	struct loop *loop;
	struct ttrpc_client_options options; /* defaults filled in */
	struct stream *stream;               /* owned; NULL once the connection ended */
	struct ttrpc_reader reader;
	uint32_t next_stream;
	TAILQ_HEAD(call_list, ttrpc_pending) calls;
	unsigned ncalls;
	uint64_t last_number; /* of a call */
};

/* ---------------------------------------------------------------- the end of a call */

/* Takes response; fds left in reply->fds by the callback are closed. The client may be freed
 * by the callback (its memory stays until the next round). */
static void call_finish(struct ttrpc_pending *call, const struct ttrpc_reply *reply,
			ProtobufCMessage *response)
{
	struct ttrpc_client *client = call->client;

	TAILQ_REMOVE(&client->calls, call, entry);
	client->ncalls--;
	loop_timer_free(steal_ptr(call->timer));
	if (call->on_reply)
		call->on_reply(reply, call->userdata);
	for (size_t i = 0; i < reply->nfds; i++)
		close_fd(reply->fds[i]);
	if (response && call->ret_response)
		*call->ret_response = response;
	else
		protobuf_c_message_free_unpacked(response, NULL);
	loop_defer(client->loop, free, call);
}

static void call_finish_code(struct ttrpc_pending *call, enum ttrpc_code code, const char *fmt, ...)
	_printf_(3, 4);

static void call_finish_code(struct ttrpc_pending *call, enum ttrpc_code code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	_cleanup_free_ char *text = xvasprintf(fmt, args);
	va_end(args);

	struct ttrpc_reply reply = { .code = code, .message = text };
	call_finish(call, &reply, NULL);
}

static void call_on_timeout(void *userdata)
{
	struct ttrpc_pending *call = userdata;

	call_finish_code(call, TTRPC_DEADLINE_EXCEEDED, "%s.%s was not answered within %llu ms",
			 call->service->name, call->method->name,
			 (unsigned long long)call->timeout_ms);
}

static void call_on_unsent(void *userdata)
{
	struct ttrpc_pending *call = userdata;

	call_finish_code(call, ttrpc_code_from_errno(call->unsent), "cannot call %s.%s: %s",
			 call->service->name, call->method->name,
			 call->unsent == -EAGAIN ? "too much is unanswered already"
						 : strerror(-call->unsent));
}

void ttrpc_pending_cancel(struct ttrpc_pending *call)
{
	if (!call)
		return;
	TAILQ_REMOVE(&call->client->calls, call, entry);
	call->client->ncalls--;
	loop_timer_free(call->timer);
	loop_defer(call->client->loop, free, call);
}

/* Calls that callbacks make meanwhile are not of this turn: they come after the last one. */
static void client_finish_calls(struct ttrpc_client *client, enum ttrpc_code code,
				const char *reason)
{
	uint64_t last = client->last_number;
	struct ttrpc_pending *call;

	while ((call = TAILQ_FIRST(&client->calls)) && call->number <= last)
		call_finish_code(call, code, "%s.%s was not answered: %s", call->service->name,
				 call->method->name, reason);
}

/* ---------------------------------------------------------------- responses */

static enum ttrpc_code code_from_wire(int32_t code)
{
	bool known = code >= TTRPC_OK && code <= TTRPC_UNAUTHENTICATED;

	return known ? (enum ttrpc_code)code : TTRPC_UNKNOWN;
}

/* Takes the descriptors that are this response's. False where it speaks of more than came. */
static bool client_take_fds(struct ttrpc_client *client, uint32_t count,
			    int ret_fds[static SOCKET_MAX_FDS], size_t *ret_nfds)
{
	size_t nfds = 0;

	if (count > SOCKET_MAX_FDS)
		return false;
	while (nfds < count) {
		int fd = stream_take_fd(client->stream);
		if (fd < 0)
			break;
		ret_fds[nfds++] = fd;
	}
	*ret_nfds = nfds;
	if (nfds == count)
		return true;
	for (size_t i = 0; i < nfds; i++)
		close_fd(ret_fds[i]);
	return false;
}

/* What came for a call that waits: an error, or the method's output. */
static void call_on_response(struct ttrpc_pending *call, const Ttrpc__Response *envelope)
{
	const ProtobufCMessageDescriptor *output = call->method->output;
	int fds[SOCKET_MAX_FDS];
	size_t nfds = 0;

	if (!client_take_fds(call->client, envelope->fds, fds, &nfds)) {
		call_finish_code(call, TTRPC_INTERNAL,
				 "the answer to %s.%s came without its descriptors",
				 call->service->name, call->method->name);
		return;
	}
	struct ttrpc_reply reply = { .code = TTRPC_OK, .message = "", .fds = fds, .nfds = nfds };
	_cleanup_free_ char *message = NULL;
	ProtobufCMessage *response = NULL;

	if (envelope->status && envelope->status->code != TTRPC_OK) {
		reply.code = code_from_wire(envelope->status->code);
		message = ttrpc_sentence(envelope->status->message, SENTENCE_MAX);
	} else {
		response = ttrpc_unpack(output, envelope->payload.data, envelope->payload.len);
		reply.response = response;
		if (!response) {
			reply.code = TTRPC_INTERNAL;
			message = xasprintf("the answer to %s.%s cannot be decoded as %s",
					    call->service->name, call->method->name, output->name);
		}
	}
	if (message)
		reply.message = message;
	call_finish(call, &reply, response);
}

static struct ttrpc_pending *client_find_call(struct ttrpc_client *client, uint32_t stream)
{
	struct ttrpc_pending *call;

	TAILQ_FOREACH (call, &client->calls, entry) {
		if (call->stream == stream)
			return call;
	}
	return NULL;
}

static void envelope_free(Ttrpc__Response **envelope)
{
	ttrpc__response__free_unpacked(*envelope, NULL);
}

static void client_on_frame(struct ttrpc_client *client, const struct ttrpc_frame *frame)
{
	const struct ttrpc_header *header = &frame->header;
	struct ttrpc_pending *call = client_find_call(client, header->stream);

	/* A peer has nothing to request of us. */
	if (header->type == TTRPC_REQUEST)
		return;
	_cleanup_(envelope_free) Ttrpc__Response *envelope = NULL;
	if (header->type == TTRPC_RESPONSE && !frame->oversize)
		envelope = (Ttrpc__Response *)ttrpc_unpack(&ttrpc__response__descriptor,
							   frame->data, header->length);
	if (!call) {
		/* Late, after its timeout: what came along must not pass for a later answer's. */
		int fds[SOCKET_MAX_FDS];
		size_t nfds = 0;
		if (envelope && client_take_fds(client, envelope->fds, fds, &nfds))
			for (size_t i = 0; i < nfds; i++)
				close_fd(fds[i]);
		return;
	}
	if (header->type != TTRPC_RESPONSE)
		call_finish_code(
			call, TTRPC_UNIMPLEMENTED,
			"%s.%s was answered with a frame of type %u, which is not supported",
			call->service->name, call->method->name, header->type);
	else if (frame->oversize)
		call_finish_code(call, TTRPC_RESOURCE_EXHAUSTED,
				 "the answer to %s.%s has %u bytes, a frame holds at most %u",
				 call->service->name, call->method->name, header->length,
				 TTRPC_DATA_MAX);
	else if (!envelope)
		call_finish_code(call, TTRPC_INTERNAL,
				 "the answer to %s.%s cannot be decoded as ttrpc.Response",
				 call->service->name, call->method->name);
	else
		call_on_response(call, envelope);
}

static void client_on_data(struct stream *stream, struct evbuffer *input, void *userdata)
{
	struct ttrpc_client *client = userdata;
	struct ttrpc_frame frame;
	int fd;

	ttrpc_reader_add(&client->reader, input);
	while (client->stream && ttrpc_reader_next(&client->reader, &frame))
		client_on_frame(client, &frame);
	/* Between frames no descriptor can belong to one that is still to come. */
	if (client->stream && ttrpc_reader_idle(&client->reader))
		while ((fd = stream_take_fd(stream)) >= 0)
			close_fd(fd);
}

/* ---------------------------------------------------------------- life of a client */

static void client_on_end(struct stream *stream _unused_, int reason, void *userdata)
{
	struct ttrpc_client *client = userdata;

	stream_free(steal_ptr(client->stream));
	client_finish_calls(client, TTRPC_UNAVAILABLE,
			    reason < 0 ? strerror(-reason) : "the connection was closed");
	if (client->options.on_end)
		client->options.on_end(client, reason, client->options.userdata);
}

struct ttrpc_client *ttrpc_client_new(struct loop *loop, int fd,
				      const struct ttrpc_client_options *options)
{
	struct ttrpc_client *client = xnew(struct ttrpc_client);
	struct stream_options stream_options = {
		.on_data = client_on_data,
		.on_end = client_on_end,
		.userdata = client,
	};

	client->loop = loop;
	if (options)
		client->options = *options;
	if (client->options.max_calls == 0)
		client->options.max_calls = DEFAULT_MAX_CALLS;
	if (client->options.max_pending == 0)
		client->options.max_pending = DEFAULT_MAX_PENDING;
	client->next_stream = client->options.first_stream | 1;
	TAILQ_INIT(&client->calls);
	ttrpc_reader_init(&client->reader);
	client->stream = stream_new(loop, fd, &stream_options);
	return client;
}

static void client_free_deferred(void *userdata)
{
	struct ttrpc_client *client = userdata;

	ttrpc_reader_done(&client->reader);
	free(client);
}

void ttrpc_client_free(struct ttrpc_client *client)
{
	if (!client)
		return;
	client->options.on_end = NULL;
	stream_free(steal_ptr(client->stream));
	while (!TAILQ_EMPTY(&client->calls))
		client_finish_calls(client, TTRPC_CANCELLED, "the caller closed the connection");
	loop_defer(client->loop, client_free_deferred, client);
}

int ttrpc_client_detach(struct ttrpc_client *client, int *ret_fd, uint32_t *ret_stream)
{
	if (!client->stream)
		return -ENOTCONN;
	if (client->ncalls > 0 || !ttrpc_reader_idle(&client->reader))
		return -EBUSY;
	int r = stream_detach(client->stream, ret_fd);
	if (r < 0)
		return r;
	client->stream = NULL;
	*ret_stream = client->next_stream;
	ttrpc_client_free(client);
	return 0;
}

/* ---------------------------------------------------------------- requests */

static size_t metadata_count(const char *const *metadata)
{
	size_t pairs = 0;

	while (metadata && metadata[2 * pairs])
		pairs++;
	return pairs;
}

static int client_send(struct ttrpc_client *client, uint32_t stream,
		       const struct ttrpc_call_options *options)
{
	size_t npairs = metadata_count(options->metadata);
	_cleanup_free_ Ttrpc__KeyValue *pairs = xnew_array(Ttrpc__KeyValue, npairs + 1);
	_cleanup_free_ Ttrpc__KeyValue **pair_list = xnew_array(Ttrpc__KeyValue *, npairs + 1);
	Ttrpc__Request envelope = TTRPC__REQUEST__INIT;
	char parent[TRACEPARENT_SIZE];

	for (size_t i = 0; i < npairs; i++) {
		ttrpc__key_value__init(&pairs[i]);
		pairs[i].key = (char *)options->metadata[2 * i];
		pairs[i].value = (char *)options->metadata[2 * i + 1];
		pair_list[i] = &pairs[i];
	}
	if (trace_on && trace_parent(parent)) {
		ttrpc__key_value__init(&pairs[npairs]);
		pairs[npairs].key = (char *)TRACEPARENT;
		pairs[npairs].value = parent;
		pair_list[npairs] = &pairs[npairs];
		npairs++;
	}
	envelope.service = (char *)options->service->name;
	envelope.method = (char *)options->method;
	envelope.n_metadata = npairs;
	envelope.metadata = pair_list;
	if (options->timeout_ms > 0)
		envelope.timeout_nano = options->timeout_ms >= INT64_MAX / NS_PER_MS
						? INT64_MAX
						: (int64_t)options->timeout_ms * NS_PER_MS;
	ttrpc_pack(options->request, &envelope.payload);
	int r = ttrpc_frame_send(client->stream, stream, TTRPC_REQUEST, &envelope.base, NULL, 0);
	free(envelope.payload.data);
	return r;
}

/* Odd, counting on; after the last one from the start, past those still in flight. */
static uint32_t client_next_stream(struct ttrpc_client *client)
{
	uint32_t stream = client->next_stream;

	while (client_find_call(client, stream))
		stream += 2;
	client->next_stream = stream + 2;
	return stream;
}

static int client_try_to_send(struct ttrpc_client *client, const struct ttrpc_call_options *options,
			      uint32_t *ret_stream)
{
	if (!client->stream)
		return -ENOTCONN;
	if (client->ncalls >= client->options.max_calls ||
	    stream_pending(client->stream) > client->options.max_pending)
		return -EAGAIN;
	uint32_t stream = client_next_stream(client);
	int r = client_send(client, stream, options);

	if (r < 0)
		client->next_stream = stream;
	else
		*ret_stream = stream;
	return r;
}

struct ttrpc_pending *ttrpc_client_call(struct ttrpc_client *client,
					const struct ttrpc_call_options *options)
{
	struct ttrpc_pending *call = xnew(struct ttrpc_pending);

	*call = (struct ttrpc_pending){
		.client = client,
		.number = ++client->last_number,
		.service = options->service,
		.method = protobuf_c_service_descriptor_get_method_by_name(options->service,
									   options->method),
		.timeout_ms = options->timeout_ms,
		.on_reply = options->on_reply,
		.userdata = options->userdata,
	};
	if (!call->method || options->request->descriptor != call->method->input)
		abort();
	call->unsent = client_try_to_send(client, options, &call->stream);
	TAILQ_INSERT_TAIL(&client->calls, call, entry);
	client->ncalls++;
	if (call->unsent < 0) {
		call->timer = loop_timer_new(client->loop, call_on_unsent, call);
		loop_timer_start(call->timer, 0);
	} else if (call->timeout_ms > 0) {
		call->timer = loop_timer_new(client->loop, call_on_timeout, call);
		loop_timer_start(call->timer, call->timeout_ms);
	}
	return call;
}

bool ttrpc_client_connected(const struct ttrpc_client *client)
{
	return client->stream != NULL;
}

/* ---------------------------------------------------------------- waiting for an answer */

struct wait {
	bool done;
	int result;
	int *ret_fds; /* borrowed; NULL: descriptors are not wanted */
	size_t *nfds;
	struct error *err;
};

static void wait_on_reply(const struct ttrpc_reply *reply, void *userdata)
{
	struct wait *wait = userdata;
	size_t room = wait->ret_fds ? *wait->nfds : 0;
	size_t taken = 0;

	wait->done = true;
	wait->result = ttrpc_reply_error(reply, wait->err);
	for (; taken < room && taken < reply->nfds; taken++)
		wait->ret_fds[taken] = steal_fd(&reply->fds[taken]);
	if (wait->nfds)
		*wait->nfds = taken;
}

int ttrpc_client_call_wait(struct ttrpc_client *client, struct loop *loop,
			   const struct ttrpc_call_options *options,
			   ProtobufCMessage **ret_response, int *ret_fds, size_t *nfds,
			   struct error *err)
{
	struct wait wait = { .ret_fds = nfds ? ret_fds : NULL, .nfds = nfds, .err = err };
	struct ttrpc_call_options waiting = *options;

	waiting.on_reply = wait_on_reply;
	waiting.userdata = &wait;
	struct ttrpc_pending *call = ttrpc_client_call(client, &waiting);
	call->ret_response = ret_response;
	if (!loop_run_until(loop, &wait.done, UINT_MAX))
		call_finish_code(call, TTRPC_CANCELLED,
				 "%s.%s was not answered before the loop was stopped",
				 options->service->name, options->method);
	return wait.result;
}

int ttrpc_reply_error(const struct ttrpc_reply *reply, struct error *err)
{
	if (reply->code == TTRPC_OK)
		return 0;
	return error_set(err, ttrpc_code_to_errno(reply->code), "%s",
			 str_empty(reply->message) ? ttrpc_code_to_string(reply->code)
						   : reply->message);
}
