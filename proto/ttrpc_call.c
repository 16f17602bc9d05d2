#include <assert.h>
#include <errno.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/trace.h"
#include "proto/ttrpc_server_priv.h"

enum { SENTENCE_MAX = 4096, NAME_MAX_SHOWN = 128, NS_PER_MS = 1000000 };

/* ---------------------------------------------------------------- life of a call */

static void call_ref(struct ttrpc_call *call)
{
	call->refs++;
}

static void call_unref(struct ttrpc_call *call)
{
	if (--call->refs > 0)
		return;
	protobuf_c_message_free_unpacked(call->request, NULL);
	ttrpc__request__free_unpacked(call->envelope, NULL);
	free(call);
}

static void call_leave_conn(struct ttrpc_call *call)
{
	if (!call->conn)
		return;
	TAILQ_REMOVE(&call->conn->calls, call, entry);
	call->conn->ncalls--;
	call->conn->held -= call->held;
	call->conn = NULL;
}

static void call_set_state(struct ttrpc_call *call, enum ttrpc_call_state state)
{
	if (call->state == TTRPC_CALL_WAITED && state != TTRPC_CALL_WAITED) {
		assert(call->conn); /* who waits has a connection to be answered on */
		call->conn->server->ncalls--;
		loop_timer_free(steal_ptr(call->timer));
	}
	call->state = state;
	if (state == TTRPC_CALL_ENDED)
		call_leave_conn(call);
}

/* The handler may end the call in its on_cancel: nothing looks at it after that. */
static void call_tell_handler(struct ttrpc_call *call)
{
	if (!call->on_cancel)
		return;
	call_ref(call);
	steal_ptr(call->on_cancel)(call, call->on_cancel_data);
	call_unref(call);
}

void ttrpc_call_cancel(struct ttrpc_call *call)
{
	if (call->state != TTRPC_CALL_WAITED)
		return;
	call_set_state(call, TTRPC_CALL_CANCELLED);
	call_tell_handler(call);
}

void ttrpc_conn_cancel_calls(struct ttrpc_conn *conn)
{
	struct ttrpc_call *call;

	while ((call = TAILQ_FIRST(&conn->calls))) {
		/* A call that is freed has left the list: the analyzer does not see that.
		 * NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
		bool waited = call->state == TTRPC_CALL_WAITED;
		call_set_state(call, TTRPC_CALL_CANCELLED);
		call_leave_conn(call);
		if (waited)
			call_tell_handler(call);
	}
}

static void call_on_deadline(void *userdata)
{
	struct ttrpc_call *call = userdata;

	ttrpc_conn_refuse(call->conn, call->stream, TTRPC_DEADLINE_EXCEEDED,
			  "%s.%s was not answered within %llu ms", call->target.service->name,
			  call->target.method->name,
			  (unsigned long long)(call->timeout_ns / NS_PER_MS));
	ttrpc_call_cancel(call);
}

/* The handler is through with the call, whose answer is under way. */
static void call_end(struct ttrpc_call *call)
{
	assert(call->state != TTRPC_CALL_ENDED);
	call->on_cancel = NULL;
	call_set_state(call, TTRPC_CALL_ENDED);
	call_unref(call);
}

struct ttrpc_call *ttrpc_conn_find_call(struct ttrpc_conn *conn, uint32_t stream)
{
	struct ttrpc_call *call;

	TAILQ_FOREACH (call, &conn->calls, entry) {
		if (call->stream == stream && call->state == TTRPC_CALL_WAITED)
			return call;
	}
	return NULL;
}

/* ---------------------------------------------------------------- from frame to handler */

/* What is wrong with a request before its data is looked at; refuses it itself. */
static bool request_is_acceptable(struct ttrpc_conn *conn, const struct ttrpc_frame *frame)
{
	const struct ttrpc_header *header = &frame->header;
	uint32_t id = header->stream;

	if (id % 2 == 0)
		ttrpc_conn_refuse(conn, id, TTRPC_INVALID_ARGUMENT,
				  "stream id %u: a client's streams are odd", id);
	else if (ttrpc_conn_find_call(conn, id))
		ttrpc_conn_refuse(conn, id, TTRPC_INVALID_ARGUMENT,
				  "stream id %u has a call in flight", id);
	else if (frame->oversize)
		ttrpc_conn_refuse(conn, id, TTRPC_RESOURCE_EXHAUSTED,
				  "the request has %u bytes, a frame holds at most %u",
				  header->length, TTRPC_DATA_MAX);
	else if (header->flags & TTRPC_FLAG_REMOTE_OPEN)
		ttrpc_conn_refuse(conn, id, TTRPC_UNIMPLEMENTED, "streaming is not supported");
	else if (conn->ncalls >= conn->server->options.max_calls)
		ttrpc_conn_refuse(conn, id, TTRPC_RESOURCE_EXHAUSTED,
				  "%u calls are in flight on this connection", conn->ncalls);
	else if (conn->held + header->length > TTRPC_HELD_MAX)
		ttrpc_conn_refuse(conn, id, TTRPC_RESOURCE_EXHAUSTED,
				  "the requests in flight on this connection hold %zu bytes",
				  conn->held);
	else
		return true;
	return false;
}

/* The row of the dispatch table; refuses a service or method that is not served. */
static const struct ttrpc_target *request_target(struct ttrpc_conn *conn, uint32_t stream,
						 const Ttrpc__Request *envelope)
{
	const struct ttrpc_server *server = conn->server;
	bool service_known = false;

	for (size_t i = 0; i < server->ntargets; i++) {
		const struct ttrpc_target *target = &server->targets[i];
		if (!str_equal(target->service->name, envelope->service))
			continue;
		service_known = true;
		if (target->handler && str_equal(target->method->name, envelope->method))
			return target;
	}
	_cleanup_free_ char *service = ttrpc_sentence(envelope->service, NAME_MAX_SHOWN);
	_cleanup_free_ char *method = ttrpc_sentence(envelope->method, NAME_MAX_SHOWN);
	if (service_known)
		ttrpc_conn_refuse(conn, stream, TTRPC_UNIMPLEMENTED,
				  "method \"%s\" of service \"%s\" is not implemented", method,
				  service);
	else
		ttrpc_conn_refuse(conn, stream, TTRPC_UNIMPLEMENTED,
				  "service \"%s\" is not served here", service);
	return NULL;
}

static void call_start_deadline(struct ttrpc_call *call)
{
	if (call->envelope->timeout_nano <= 0)
		return;
	call->timeout_ns = (uint64_t)call->envelope->timeout_nano;
	call->deadline_ns = clock_monotonic_ns() + call->timeout_ns;
	call->timer = loop_timer_new(call->loop, call_on_deadline, call);
	loop_timer_start(call->timer, (call->timeout_ns + NS_PER_MS - 1) / NS_PER_MS);
}

/* Takes envelope and request. */
static struct ttrpc_call *call_new(struct ttrpc_conn *conn, const struct ttrpc_frame *frame,
				   const struct ttrpc_target *target, Ttrpc__Request *envelope,
				   ProtobufCMessage *request)
{
	struct ttrpc_call *call = xnew(struct ttrpc_call);

	*call = (struct ttrpc_call){
		.refs = 1,
		.state = TTRPC_CALL_WAITED,
		.loop = conn->server->loop,
		.conn = conn,
		.peer = conn->peer,
		.peer_error = conn->peer_error,
		.stream = frame->header.stream,
		.target = *target,
		.envelope = envelope,
		.request = request,
		.held = frame->header.length,
	};
	/* The payload lives on as the message: not twice. */
	free(envelope->payload.data);
	envelope->payload = (ProtobufCBinaryData){};

	TAILQ_INSERT_TAIL(&conn->calls, call, entry);
	conn->ncalls++;
	conn->held += call->held;
	conn->server->ncalls++;
	call_start_deadline(call);
	return call;
}

static void envelope_free(Ttrpc__Request **envelope)
{
	ttrpc__request__free_unpacked(*envelope, NULL);
}

static void call_run(struct ttrpc_call *call, ttrpc_handler handler,
		     const struct ttrpc_server_options *options)
{
	if (!options->on_call || options->on_call(call, call->request, options->userdata))
		handler(call, call->request, options->userdata);
}

/* The same in the caller's trace. */
static void call_run_traced(struct ttrpc_call *call, ttrpc_handler handler,
			    const struct ttrpc_server_options *options)
{
	const char *parent = ttrpc_call_metadata(call, TRACEPARENT);
	struct trace_context context = {}, outer;

	if (parent)
		(void)!trace_context_parse(parent, &context); /* else it comes from nowhere */
	outer = trace_enter(&context);
	call_run(call, handler, options);
	(void)trace_enter(&outer);
}

void ttrpc_conn_on_request(struct ttrpc_conn *conn, const struct ttrpc_frame *frame)
{
	uint32_t stream = frame->header.stream;

	if (conn->refusal) {
		ttrpc_conn_refuse(conn, stream, TTRPC_RESOURCE_EXHAUSTED, "%s", conn->refusal);
		return;
	}
	if (!request_is_acceptable(conn, frame))
		return;
	_cleanup_(envelope_free) Ttrpc__Request *envelope = (Ttrpc__Request *)ttrpc_unpack(
		&ttrpc__request__descriptor, frame->data, frame->header.length);
	if (!envelope) {
		ttrpc_conn_refuse(conn, stream, TTRPC_INVALID_ARGUMENT,
				  "the request cannot be decoded as ttrpc.Request");
		return;
	}
	const struct ttrpc_target *target = request_target(conn, stream, envelope);
	if (!target)
		return;
	ProtobufCMessage *request = ttrpc_unpack(target->method->input, envelope->payload.data,
						 envelope->payload.len);
	if (!request) {
		ttrpc_conn_refuse(conn, stream, TTRPC_INVALID_ARGUMENT,
				  "the payload of %s.%s cannot be decoded as %s",
				  target->service->name, target->method->name,
				  target->method->input->name);
		return;
	}
	struct ttrpc_call *call = call_new(conn, frame, target, steal_ptr(envelope), request);
	call_ref(call);
	if (trace_on)
		call_run_traced(call, target->handler, &conn->server->options);
	else
		call_run(call, target->handler, &conn->server->options);
	call_unref(call);
}

/* ---------------------------------------------------------------- what handlers do */

void ttrpc_call_reply(struct ttrpc_call *call, const ProtobufCMessage *response)
{
	ttrpc_call_reply_fds(call, response, NULL, 0);
}

static bool answer_is_valid(const struct ttrpc_call *call, const ProtobufCMessage *response,
			    size_t nfds)
{
	return response->descriptor == call->target.method->output && nfds <= SOCKET_MAX_FDS;
}

void ttrpc_call_reply_fds(struct ttrpc_call *call, const ProtobufCMessage *response, const int *fds,
			  size_t nfds)
{
	Ttrpc__Response envelope = TTRPC__RESPONSE__INIT;
	bool valid = answer_is_valid(call, response, nfds);

	if (valid && call->state == TTRPC_CALL_WAITED) {
		ttrpc_pack(response, &envelope.payload);
		ttrpc_conn_answer(call->conn, call->stream, &envelope, fds, nfds);
		free(envelope.payload.data);
		call_end(call);
		return;
	}
	for (size_t i = 0; i < nfds; i++)
		close_fd(fds[i]);
	ttrpc_call_fail_code(call, TTRPC_INTERNAL, "%s.%s was answered with no %s or too many fds",
			     call->target.service->name, call->target.method->name,
			     call->target.method->output->name);
}

/* The number of the field, where output is a message of one field of bytes. */
static bool find_bytes_field(const ProtobufCMessageDescriptor *output, uint32_t *ret_number)
{
	if (output->n_fields != 1 || output->fields[0].type != PROTOBUF_C_TYPE_BYTES ||
	    output->fields[0].label == PROTOBUF_C_LABEL_REPEATED)
		return false;
	*ret_number = output->fields[0].id;
	return true;
}

void ttrpc_call_reply_bytes(struct ttrpc_call *call, uint8_t *data, size_t len)
{
	uint32_t field;

	if (!find_bytes_field(call->target.method->output, &field) || len == 0)
		abort(); /* a mistake of the caller */
	if (call->state == TTRPC_CALL_WAITED)
		ttrpc_conn_answer_bytes(call->conn, call->stream, field, data, len);
	call_end(call);
}

static void call_fail(struct ttrpc_call *call, enum ttrpc_code code, const char *text)
{
	if (call->state == TTRPC_CALL_WAITED)
		ttrpc_conn_refuse(call->conn, call->stream,
				  code == TTRPC_OK ? TTRPC_INTERNAL : code, "%s", text);
	call_end(call);
}

void ttrpc_call_fail(struct ttrpc_call *call, const struct error *err)
{
	call_fail(call, ttrpc_code_from_errno(err->number), error_message(err));
}

void ttrpc_call_fail_code(struct ttrpc_call *call, enum ttrpc_code code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	_cleanup_free_ char *text = xvasprintf(fmt, args);
	va_end(args);
	call_fail(call, code, text);
}

void ttrpc_call_drop(struct ttrpc_call *call)
{
	if (call)
		ttrpc_call_fail_code(call, TTRPC_INTERNAL, "%s.%s was not answered",
				     call->target.service->name, call->target.method->name);
}

static void call_cancel_deferred(void *userdata)
{
	struct ttrpc_call *call = userdata;

	call_tell_handler(call);
	/* The reference is the deferred turn's own.
	 * NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
	call_unref(call);
}

void ttrpc_call_on_cancel(struct ttrpc_call *call,
			  void (*fn)(struct ttrpc_call *call, void *userdata), void *userdata)
{
	call->on_cancel = fn;
	call->on_cancel_data = userdata;
	if (call->state != TTRPC_CALL_CANCELLED)
		return;
	call_ref(call);
	loop_defer(call->loop, call_cancel_deferred, call);
}

bool ttrpc_call_cancelled(const struct ttrpc_call *call)
{
	return call->state != TTRPC_CALL_WAITED;
}

const char *ttrpc_call_method(const struct ttrpc_call *call)
{
	return call->target.method->name;
}

const char *ttrpc_call_metadata(const struct ttrpc_call *call, const char *key)
{
	for (size_t i = 0; i < call->envelope->n_metadata; i++)
		if (str_equal(call->envelope->metadata[i]->key, key))
			return call->envelope->metadata[i]->value;
	return NULL;
}

uint64_t ttrpc_call_time_left(const struct ttrpc_call *call)
{
	if (call->timeout_ns == 0)
		return UINT64_MAX;
	uint64_t now = clock_monotonic_ns();
	return now >= call->deadline_ns ? 0 : (call->deadline_ns - now) / NS_PER_MS;
}

int ttrpc_call_peer(const struct ttrpc_call *call, struct peer *ret_peer)
{
	if (call->peer_error < 0)
		return call->peer_error;
	*ret_peer = call->peer;
	return 0;
}

struct ttrpc_conn *ttrpc_call_conn(const struct ttrpc_call *call)
{
	return call->conn;
}
