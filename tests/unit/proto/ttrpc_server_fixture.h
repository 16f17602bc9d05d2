/* What the programs that test the ttRPC server share: a server with one peer, and a service, the
 * factory's, whose Claim does what its sandbox_id tells it to. */
#pragma once

#include <fcntl.h>
#include <sys/resource.h>

#include "proto/factory.pb-c.h"
#include "proto/ttrpc_server.h"
#include "scripted_peer.h"

#define FACTORY    "kiln.factory.v1.Factory"
#define HELD_MAX   4096
#define NS_PER_MS  1000000
#define MIB        (1u << 20)
#define OVER_LIMIT (TTRPC_DATA_MAX + 1)

struct fixture {
	struct loop *loop;
	struct ttrpc_server *server;
	struct peer_end *peer;
	struct ttrpc_conn *conn; /* that peer is on */
	struct ttrpc_call *held[HELD_MAX];
	unsigned nheld;
	unsigned handled;
	unsigned cancelled;
	unsigned conns_ended;
	unsigned cancelled_before_end;
	bool conn_ended;
	bool was_cancelled;
	bool refuse;
	struct peer accepted;
	uint64_t time_left;
	char metadata[64];
	struct peer caller;
};

/* ---------------------------------------------------------------- the service */

static inline void on_cancel(struct ttrpc_call *call, void *userdata)
{
	struct fixture *f = userdata;

	assert_true(ttrpc_call_cancelled(call));
	f->cancelled++;
	f->was_cancelled = true;
}

static inline void on_cancel_drop(struct ttrpc_call *call, void *userdata)
{
	on_cancel(call, userdata);
	ttrpc_call_drop(call);
}

static inline void on_cancel_free_server(struct ttrpc_call *call, void *userdata)
{
	struct fixture *f = userdata;

	on_cancel_drop(call, userdata);
	ttrpc_server_free(steal_ptr(f->server));
}

static inline void hold(struct fixture *f, struct ttrpc_call *call)
{
	assert_true(f->nheld < HELD_MAX);
	f->held[f->nheld++] = call;
}

static inline void answer(struct ttrpc_call *call, const char *vm_id, size_t reason_len)
{
	Kiln__Factory__V1__ClaimResponse response = KILN__FACTORY__V1__CLAIM_RESPONSE__INIT;
	_cleanup_free_ char *reason = xcalloc(reason_len + 1, 1);

	memset(reason, 'r', reason_len);
	response.vm_id = (char *)vm_id;
	response.reason = reason;
	ttrpc_call_reply(call, &response.base);
}

static inline void answer_with_fds(struct ttrpc_call *call, size_t count)
{
	Kiln__Factory__V1__ClaimResponse response = KILN__FACTORY__V1__CLAIM_RESPONSE__INIT;
	int fds[SOCKET_MAX_FDS + 1];

	response.vm_id = (char *)"with fds";
	for (size_t i = 0; i < count; i++)
		fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	ttrpc_call_reply_fds(call, &response.base, fds, count);
}

static inline void do_fail(struct ttrpc_call *call)
{
	_cleanup_(error_done) struct error err = {};

	error_set(&err, ENOENT, "no machine \xff\n here");
	ttrpc_call_fail(call, &err);
}

static inline void do_fail_as_ok(struct ttrpc_call *call)
{
	ttrpc_call_fail_code(call, TTRPC_OK, "not so");
}

static inline void do_wrong(struct ttrpc_call *call)
{
	Kiln__Factory__V1__ReleaseResponse response = KILN__FACTORY__V1__RELEASE_RESPONSE__INIT;

	ttrpc_call_reply(call, &response.base);
}

static inline void do_close(struct ttrpc_call *call, struct fixture *f)
{
	ttrpc_call_on_cancel(call, on_cancel, f);
	ttrpc_conn_close(ttrpc_call_conn(call));
	assert_int_equal(f->cancelled, 0);
	answer(call, "into nothing", 0);
}

static inline void on_claim(struct ttrpc_call *call, const ProtobufCMessage *message,
			    void *userdata)
{
	struct fixture *f = userdata;
	const Kiln__Factory__V1__ClaimRequest *request = (const void *)message;
	const char *what = request->sandbox_id;
	const char *metadata = ttrpc_call_metadata(call, "colour");

	f->handled++;
	f->time_left = ttrpc_call_time_left(call);
	(void)ttrpc_call_peer(call, &f->caller);
	assert_string_equal(ttrpc_call_method(call), "Claim");
	if (metadata)
		snprintf(f->metadata, sizeof(f->metadata), "%s", metadata);
	if (str_equal(what, "hold")) {
		ttrpc_call_on_cancel(call, on_cancel, f);
		hold(f, call);
	} else if (str_equal(what, "hold, drop when cancelled")) {
		ttrpc_call_on_cancel(call, on_cancel_drop, f);
	} else if (str_equal(what, "free server when cancelled")) {
		ttrpc_call_on_cancel(call, on_cancel_free_server, f);
	} else if (str_equal(what, "drop")) {
		ttrpc_call_drop(call);
	} else if (str_equal(what, "fail")) {
		do_fail(call);
	} else if (str_equal(what, "fail as ok")) {
		do_fail_as_ok(call);
	} else if (str_equal(what, "wrong")) {
		do_wrong(call);
	} else if (str_equal(what, "close")) {
		do_close(call, f);
	} else if (str_equal(what, "free")) {
		ttrpc_server_free(steal_ptr(f->server));
		assert_true(ttrpc_call_cancelled(call));
		assert_null(ttrpc_call_conn(call));
		answer(call, "into nothing", 0);
	} else if (str_equal(what, "fds")) {
		answer_with_fds(call, request->vcpus);
	} else {
		answer(call, what, request->memory_mib);
	}
}

static inline void on_conn_end(struct ttrpc_conn *conn _unused_, void *userdata)
{
	struct fixture *f = userdata;

	f->conns_ended++;
	f->cancelled_before_end = f->cancelled;
	f->conn_ended = true;
}

static inline int on_accept(int fd _unused_, const struct peer *peer, void *userdata)
{
	struct fixture *f = userdata;

	f->accepted = *peer;
	return f->refuse ? -EPERM : 0;
}

/* ---------------------------------------------------------------- set-up */

static inline struct peer_end *serve_peer(struct fixture *f, struct ttrpc_conn **ret_conn)
{
	int fds[2];

	assert_int_equal(socket_pair(fds), 0);
	assert_int_equal(ttrpc_server_serve(f->server, fds[0], false, ret_conn), 0);
	return peer_new(f->loop, fds[1]);
}

static inline int set_up_with(void **state, const struct ttrpc_server_options *bounds)
{
	static const struct ttrpc_method methods[] = { { "Claim", on_claim } };
	static const struct ttrpc_service service = {
		.descriptor = &kiln__factory__v1__factory__descriptor,
		.methods = methods,
		.nmethods = ARRAY_SIZE(methods),
	};
	struct fixture *f = xnew(struct fixture);
	struct ttrpc_server_options options = *bounds;

	*state = f;
	options.userdata = f;
	options.on_accept = on_accept;
	options.on_conn_end = on_conn_end;
	f->loop = loop_new();
	f->server = ttrpc_server_new(f->loop, &options);
	ttrpc_server_add(f->server, &service);
	f->peer = serve_peer(f, &f->conn);
	return 0;
}

static inline int setup(void **state)
{
	return set_up_with(state, &(struct ttrpc_server_options){});
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	ttrpc_server_free(f->server);
	for (unsigned i = 0; i < f->nheld; i++)
		ttrpc_call_drop(f->held[i]);
	if (f->peer)
		peer_free(f->peer);
	loop_free(f->loop);
	free(f);
	return 0;
}

/* ---------------------------------------------------------------- requests and answers */

static inline void add_raw_request(struct strbuf *out, uint32_t stream, uint8_t flags,
				   const char *service, const char *method, const void *payload,
				   size_t len, int64_t timeout_nano)
{
	Ttrpc__Request envelope = TTRPC__REQUEST__INIT;
	Ttrpc__KeyValue pair = TTRPC__KEY_VALUE__INIT;
	Ttrpc__KeyValue *pairs[] = { &pair };

	pair.key = (char *)"colour";
	pair.value = (char *)"blue";
	envelope.metadata = pairs;
	envelope.n_metadata = 1;
	envelope.service = (char *)service;
	envelope.method = (char *)method;
	envelope.payload = (ProtobufCBinaryData){ .data = (uint8_t *)payload, .len = len };
	envelope.timeout_nano = timeout_nano;
	frame_add_message(out, stream, TTRPC_REQUEST, flags, &envelope.base);
}

static inline void add_claim(struct strbuf *out, uint32_t stream, const char *what, uint32_t size,
			     int64_t timeout_nano)
{
	Kiln__Factory__V1__ClaimRequest request = KILN__FACTORY__V1__CLAIM_REQUEST__INIT;
	uint8_t payload[256];

	request.sandbox_id = (char *)what;
	request.memory_mib = size;
	request.vcpus = size;
	size_t len = protobuf_c_message_pack(&request.base, payload);
	add_raw_request(out, stream, 0, FACTORY, "Claim", payload, len, timeout_nano);
}

static inline void send_claim_with(struct peer_end *peer, uint32_t stream, const char *what,
				   uint32_t size, int64_t timeout_nano)
{
	_cleanup_(strbuf_done) struct strbuf bytes = {};

	add_claim(&bytes, stream, what, size, timeout_nano);
	peer_send(peer, bytes.text, bytes.len);
}

static inline void send_claim(struct peer_end *peer, uint32_t stream, const char *what)
{
	send_claim_with(peer, stream, what, 0, 0);
}

static inline void send_frame(struct peer_end *peer, uint32_t stream, uint8_t type, uint8_t flags,
			      const void *data, size_t len)
{
	_cleanup_(strbuf_done) struct strbuf bytes = {};

	frame_add(&bytes, stream, type, flags, data, len);
	peer_send(peer, bytes.text, bytes.len);
}

/* The next response frame, which must be on this stream; the caller frees. */
static inline Ttrpc__Response *await_response(struct peer_end *peer, uint32_t stream)
{
	_cleanup_free_ uint8_t *data = NULL;
	struct ttrpc_header header;

	peer_await_frame(peer, &header, &data);
	assert_int_equal(header.type, TTRPC_RESPONSE);
	assert_int_equal(header.flags, 0);
	assert_int_equal(header.stream, stream);
	Ttrpc__Response *response = ttrpc__response__unpack(NULL, header.length, data);
	assert_non_null(response);
	return response;
}

static inline void expect_failure(struct peer_end *peer, uint32_t stream, enum ttrpc_code code,
				  const char *part)
{
	Ttrpc__Response *response = await_response(peer, stream);

	assert_non_null(response->status);
	assert_int_equal(response->status->code, code);
	if (!strstr(response->status->message, part))
		fail_msg("\"%s\" does not say \"%s\"", response->status->message, part);
	ttrpc__response__free_unpacked(response, NULL);
}

static inline void expect_claimed_with(struct peer_end *peer, uint32_t stream, const char *vm_id,
				       size_t reason_len)
{
	Ttrpc__Response *response = await_response(peer, stream);

	assert_null(response->status);
	Kiln__Factory__V1__ClaimResponse *claim = kiln__factory__v1__claim_response__unpack(
		NULL, response->payload.len, response->payload.data);
	assert_non_null(claim);
	assert_string_equal(claim->vm_id, vm_id);
	assert_int_equal(strlen(claim->reason), reason_len);
	kiln__factory__v1__claim_response__free_unpacked(claim, NULL);
	ttrpc__response__free_unpacked(response, NULL);
}

static inline void expect_claimed(struct peer_end *peer, uint32_t stream, const char *vm_id)
{
	expect_claimed_with(peer, stream, vm_id, 0);
}

/* That the connection lives, and that nothing else was answered before. */
static inline void expect_alive(struct peer_end *peer)
{
	send_claim(peer, 9999, "alive");
	expect_claimed(peer, 9999, "alive");
	assert_int_equal(peer->received.len, 0);
}

static inline void await_held(struct fixture *f, unsigned count)
{
	while (f->nheld < count)
		turn(f->loop);
	assert_int_equal(f->nheld, count);
}
