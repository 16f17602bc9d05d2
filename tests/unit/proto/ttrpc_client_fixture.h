/* What the programs that test the ttRPC client share: a client with one scripted peer, calls of
 * the factory's Claim, and what became of each. */
#pragma once

#include "proto/factory.pb-c.h"
#include "proto/ttrpc_client.h"
#include "scripted_peer.h"

struct fixture;

/* What became of one call. */
struct outcome {
	struct fixture *f;
	unsigned calls; /* of the callback */
	bool done;
	enum ttrpc_code code;
	char message[256];
	char vm_id[64];
	size_t nfds;
	int kept_fd;
	bool free_client;
	struct outcome *again; /* of a call that the callback makes */
};

struct fixture {
	struct loop *loop;
	struct ttrpc_client *client;
	struct peer_end *peer;
	unsigned ended;
	bool end_seen;
	unsigned done_before_end;
	struct outcome outcome;
};

static inline void on_end(struct ttrpc_client *client, int reason _unused_, void *userdata)
{
	struct fixture *f = userdata;

	assert_ptr_equal(client, f->client);
	f->ended++;
	f->end_seen = true;
	f->done_before_end = f->outcome.calls;
}

static inline int set_up_with(void **state, const struct ttrpc_client_options *bounds)
{
	struct ttrpc_client_options options = *bounds;
	struct fixture *f = xnew(struct fixture);
	int fds[2];

	*state = f;
	f->loop = loop_new();
	assert_int_equal(socket_pair(fds), 0);
	options.on_end = on_end;
	options.userdata = f;
	f->client = ttrpc_client_new(f->loop, fds[0], &options);
	f->peer = peer_new(f->loop, fds[1]);
	return 0;
}

static inline int setup(void **state)
{
	return set_up_with(state, &(struct ttrpc_client_options){});
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	ttrpc_client_free(f->client);
	if (f->peer)
		peer_free(f->peer);
	loop_free(f->loop);
	free(f);
	return 0;
}

/* ---------------------------------------------------------------- calling */

static inline struct ttrpc_pending *start_claim(struct fixture *f, struct outcome *outcome,
						uint64_t timeout_ms);

static inline void on_reply(const struct ttrpc_reply *reply, void *userdata)
{
	struct outcome *outcome = userdata;

	outcome->calls++;
	outcome->done = true;
	outcome->code = reply->code;
	snprintf(outcome->message, sizeof(outcome->message), "%s", reply->message);
	assert_int_equal(reply->response != NULL, reply->code == TTRPC_OK);
	if (reply->response) {
		const Kiln__Factory__V1__ClaimResponse *claim = (const void *)reply->response;
		snprintf(outcome->vm_id, sizeof(outcome->vm_id), "%s", claim->vm_id);
	}
	outcome->nfds = reply->nfds;
	outcome->kept_fd = reply->nfds > 0 ? steal_fd(&reply->fds[0]) : -EBADF;
	if (outcome->free_client)
		ttrpc_client_free(steal_ptr(outcome->f->client));
	if (outcome->again)
		start_claim(outcome->f, outcome->again, 0);
}

static inline struct ttrpc_call_options claim_options(struct outcome *outcome, uint64_t timeout_ms)
{
	static const char *const metadata[] = { "a", "1", "b", "2", NULL };
	static Kiln__Factory__V1__ClaimRequest request;

	kiln__factory__v1__claim_request__init(&request);
	request.sandbox_id = (char *)"sandbox";
	return (struct ttrpc_call_options){
		.service = &kiln__factory__v1__factory__descriptor,
		.method = "Claim",
		.request = &request.base,
		.timeout_ms = timeout_ms,
		.metadata = metadata,
		.on_reply = on_reply,
		.userdata = outcome,
	};
}

static inline struct ttrpc_pending *start_claim(struct fixture *f, struct outcome *outcome,
						uint64_t timeout_ms)
{
	struct ttrpc_call_options options = claim_options(outcome, timeout_ms);

	*outcome = (struct outcome){
		.f = f,
		.free_client = outcome->free_client,
		.again = outcome->again,
		.kept_fd = -EBADF,
	};
	return ttrpc_client_call(f->client, &options);
}

static inline void claim(struct fixture *f, struct outcome *outcome)
{
	start_claim(f, outcome, 0);
	assert_int_equal(outcome->calls, 0);
}

/* The next request that the peer gets; the caller frees. */
static inline Ttrpc__Request *await_request(struct fixture *f, uint32_t stream)
{
	_cleanup_free_ uint8_t *data = NULL;
	struct ttrpc_header header;

	peer_await_frame(f->peer, &header, &data);
	assert_int_equal(header.type, TTRPC_REQUEST);
	assert_int_equal(header.flags, 0);
	assert_int_equal(header.stream, stream);
	Ttrpc__Request *request = ttrpc__request__unpack(NULL, header.length, data);
	assert_non_null(request);
	return request;
}

static inline void add_answer(struct strbuf *bytes, uint32_t stream, const char *vm_id,
			      uint32_t nfds)
{
	Kiln__Factory__V1__ClaimResponse claim_response = KILN__FACTORY__V1__CLAIM_RESPONSE__INIT;
	Ttrpc__Response response = TTRPC__RESPONSE__INIT;
	uint8_t payload[256];

	claim_response.vm_id = (char *)vm_id;
	response.payload.data = payload;
	response.payload.len = protobuf_c_message_pack(&claim_response.base, payload);
	response.fds = nfds;
	frame_add_message(bytes, stream, TTRPC_RESPONSE, 0, &response.base);
}

static inline void add_status(struct strbuf *bytes, uint32_t stream, int32_t code,
			      const char *message)
{
	Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
	Ttrpc__Response response = TTRPC__RESPONSE__INIT;

	status.code = code;
	status.message = (char *)message;
	response.status = &status;
	frame_add_message(bytes, stream, TTRPC_RESPONSE, 0, &response.base);
}

static inline void send_answer(struct fixture *f, uint32_t stream, const char *vm_id)
{
	_cleanup_(strbuf_done) struct strbuf bytes = {};

	add_answer(&bytes, stream, vm_id, 0);
	peer_send(f->peer, bytes.text, bytes.len);
}

static inline void send_frame(struct fixture *f, uint32_t stream, uint8_t type, const void *data,
			      size_t len)
{
	_cleanup_(strbuf_done) struct strbuf bytes = {};

	frame_add(&bytes, stream, type, 0, data, len);
	peer_send(f->peer, bytes.text, bytes.len);
}

static inline void expect_claimed(struct fixture *f, struct outcome *outcome, const char *vm_id)
{
	turn_until(f->loop, &outcome->done);
	assert_int_equal(outcome->calls, 1);
	assert_int_equal(outcome->code, TTRPC_OK);
	assert_string_equal(outcome->message, "");
	assert_string_equal(outcome->vm_id, vm_id);
}

static inline void expect_failed(struct fixture *f, struct outcome *outcome, enum ttrpc_code code,
				 const char *part)
{
	turn_until(f->loop, &outcome->done);
	assert_int_equal(outcome->calls, 1);
	assert_int_equal(outcome->code, code);
	if (!strstr(outcome->message, part))
		fail_msg("\"%s\" does not say \"%s\"", outcome->message, part);
}

/* That a fresh call, on this stream, still works. */
static inline void expect_alive(struct fixture *f, uint32_t stream)
{
	struct outcome outcome = {};

	claim(f, &outcome);
	send_answer(f, stream, "alive");
	expect_claimed(f, &outcome, "alive");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
