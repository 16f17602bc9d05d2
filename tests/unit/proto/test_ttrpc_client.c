/* The ttRPC client against a peer that answers what it likes, and with a real server. */
#include <fcntl.h>

#include "proto/ttrpc_server.h"
#include "ttrpc_client_fixture.h"

#define NS_PER_MS 1000000

/* ---------------------------------------------------------------- answers */

static void a_call_carries_what_it_was_given(void **state)
{
	struct fixture *f = *state;

	start_claim(f, &f->outcome, 250);
	Ttrpc__Request *request = await_request(f, 1);
	assert_string_equal(request->service, "kiln.factory.v1.Factory");
	assert_string_equal(request->method, "Claim");
	assert_true(request->timeout_nano == 250 * NS_PER_MS);
	assert_int_equal(request->n_metadata, 2);
	assert_string_equal(request->metadata[1]->key, "b");
	assert_string_equal(request->metadata[1]->value, "2");
	Kiln__Factory__V1__ClaimRequest *payload = kiln__factory__v1__claim_request__unpack(
		NULL, request->payload.len, request->payload.data);
	assert_string_equal(payload->sandbox_id, "sandbox");
	kiln__factory__v1__claim_request__free_unpacked(payload, NULL);
	ttrpc__request__free_unpacked(request, NULL);
	send_answer(f, 1, "vm");
	expect_claimed(f, &f->outcome, "vm");
}

static void calls_may_be_answered_in_any_order(void **state)
{
	struct fixture *f = *state;
	struct outcome outcomes[100];

	for (uint32_t i = 0; i < 100; i++) {
		outcomes[i] = (struct outcome){};
		claim(f, &outcomes[i]);
		ttrpc__request__free_unpacked(await_request(f, 2 * i + 1), NULL);
	}
	for (uint32_t i = 100; i-- > 0;) {
		char name[16];
		snprintf(name, sizeof(name), "vm-%u", i);
		send_answer(f, 2 * i + 1, name);
		expect_claimed(f, &outcomes[i], name);
	}
}

static void a_status_is_a_failure_with_its_sentence(void **state)
{
	struct fixture *f = *state;
	_cleanup_(strbuf_done) struct strbuf bytes = {};

	claim(f, &f->outcome);
	add_status(&bytes, 1, TTRPC_NOT_FOUND, "no such\ntemplate");
	add_status(&bytes, 3, 4711, "what?");
	add_status(&bytes, 5, TTRPC_OK, "");
	peer_send(f->peer, bytes.text, bytes.len);
	expect_failed(f, &f->outcome, TTRPC_NOT_FOUND, "no such template");
}

static void codes_nobody_knows_are_unknown(void **state)
{
	struct fixture *f = *state;
	static const int32_t codes[] = { 17, -1, INT32_MAX, INT32_MIN };

	for (uint32_t i = 0; i < ARRAY_SIZE(codes); i++) {
		_cleanup_(strbuf_done) struct strbuf bytes = {};
		claim(f, &f->outcome);
		add_status(&bytes, 2 * i + 1, codes[i], "what?");
		peer_send(f->peer, bytes.text, bytes.len);
		expect_failed(f, &f->outcome, TTRPC_UNKNOWN, "what?");
	}
}

static void an_explicit_ok_is_ok(void **state)
{
	struct fixture *f = *state;
	_cleanup_(strbuf_done) struct strbuf bytes = {};

	claim(f, &f->outcome);
	add_status(&bytes, 1, TTRPC_OK, "");
	peer_send(f->peer, bytes.text, bytes.len);
	expect_claimed(f, &f->outcome, "");
	/* No bytes at all are an empty answer. */
	claim(f, &f->outcome);
	send_frame(f, 3, TTRPC_RESPONSE, "", 0);
	expect_claimed(f, &f->outcome, "");
}

static void an_answer_that_cannot_be_decoded_is_internal(void **state)
{
	struct fixture *f = *state;
	Ttrpc__Response response = TTRPC__RESPONSE__INIT;
	_cleanup_(strbuf_done) struct strbuf bytes = {};

	claim(f, &f->outcome);
	send_frame(f, 1, TTRPC_RESPONSE, "\xff\xff\xff\xff", 4);
	expect_failed(f, &f->outcome, TTRPC_INTERNAL, "as ttrpc.Response");
	claim(f, &f->outcome);
	response.payload = (ProtobufCBinaryData){ .len = 4, .data = (uint8_t *)"\xff\xff\xff" };
	frame_add_message(&bytes, 3, TTRPC_RESPONSE, 0, &response.base);
	peer_send(f->peer, bytes.text, bytes.len);
	expect_failed(f, &f->outcome, TTRPC_INTERNAL, "as kiln.factory.v1.ClaimResponse");
	expect_alive(f, 5);
}

static void an_answer_over_the_limit_fails_its_call_only(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *junk = xcalloc(TTRPC_DATA_MAX + 1, 1);
	struct outcome other = {};

	claim(f, &f->outcome);
	claim(f, &other);
	send_frame(f, 1, TTRPC_RESPONSE, junk, TTRPC_DATA_MAX + 1);
	expect_failed(f, &f->outcome, TTRPC_RESOURCE_EXHAUSTED, "4194305 bytes");
	send_answer(f, 3, "other");
	expect_claimed(f, &other, "other");
	expect_alive(f, 5);
}

static void frames_for_no_call_are_ignored(void **state)
{
	struct fixture *f = *state;

	send_answer(f, 1, "too early");
	send_answer(f, 0, "zero");
	send_frame(f, 77, TTRPC_RESPONSE, "\xff", 1);
	send_frame(f, 77, TTRPC_DATA, "data", 4);
	send_frame(f, 77, 200, "?", 1);
	turn(f->loop);
	claim(f, &f->outcome);
	send_frame(f, 1, TTRPC_REQUEST, "", 0);
	turn(f->loop);
	assert_int_equal(f->outcome.calls, 0);
	send_answer(f, 1, "right");
	expect_claimed(f, &f->outcome, "right");
}

static void an_answer_by_streaming_fails_the_call(void **state)
{
	struct fixture *f = *state;

	claim(f, &f->outcome);
	send_frame(f, 1, TTRPC_DATA, "data", 4);
	expect_failed(f, &f->outcome, TTRPC_UNIMPLEMENTED, "type 3");
	expect_alive(f, 3);
}

/* ---------------------------------------------------------------- bytes */

static void an_answer_may_come_in_pieces(void **state)
{
	struct fixture *f = *state;
	uint32_t stream = 1;
	size_t len = 1;

	for (size_t split = 0; split <= len; split++, stream += 2) {
		_cleanup_(strbuf_done) struct strbuf bytes = {};
		claim(f, &f->outcome);
		add_answer(&bytes, stream, "pieces", 0);
		len = bytes.len;
		peer_send(f->peer, bytes.text, split);
		turn(f->loop);
		assert_int_equal(f->outcome.done, split == len);
		peer_send(f->peer, bytes.text + split, bytes.len - split);
		expect_claimed(f, &f->outcome, "pieces");
	}
}

static void many_answers_may_come_in_one_piece(void **state)
{
	struct fixture *f = *state;
	_cleanup_(strbuf_done) struct strbuf bytes = {};
	struct outcome outcomes[500];

	for (uint32_t i = 0; i < 500; i++) {
		outcomes[i] = (struct outcome){};
		claim(f, &outcomes[i]);
		add_answer(&bytes, 2 * i + 1, "merged", 0);
	}
	peer_send(f->peer, bytes.text, bytes.len);
	for (uint32_t i = 0; i < 500; i++)
		expect_claimed(f, &outcomes[i], "merged");
}

static void a_peer_may_vanish_after_any_byte(void **state)
{
	size_t len = 1;

	for (size_t sent = 0; sent <= len; sent++) {
		_cleanup_(strbuf_done) struct strbuf bytes = {};
		struct fixture *f;
		teardown(state);
		setup(state);
		f = *state;
		claim(f, &f->outcome);
		add_answer(&bytes, 1, "nearly", 0);
		len = bytes.len;
		peer_send(f->peer, bytes.text, sent);
		peer_free(steal_ptr(f->peer));
		turn_until(f->loop, &f->end_seen);
		assert_int_equal(f->outcome.calls, 1);
		assert_int_equal(f->done_before_end, 1);
		assert_int_equal(f->outcome.code, sent == len ? TTRPC_OK : TTRPC_UNAVAILABLE);
	}
}

/* ---------------------------------------------------------------- descriptors */

static void send_with_fds(struct fixture *f, const struct strbuf *bytes, size_t nfds)
{
	int fds[SOCKET_MAX_FDS];

	for (size_t i = 0; i < nfds; i++)
		fds[i] = f->peer->fd;
	assert_int_equal(socket_send(f->peer->fd, bytes->text, bytes->len, fds, nfds), bytes->len);
}

static void descriptors_go_to_the_answer_they_came_with(void **state)
{
	struct fixture *f = *state;
	_cleanup_(strbuf_done) struct strbuf without = {};
	_cleanup_(strbuf_done) struct strbuf with = {};
	struct outcome first = {};
	struct outcome second = {};
	unsigned before = count_open_fds();

	claim(f, &first);
	claim(f, &second);
	/* Both are there before the first is looked at. */
	add_answer(&without, 1, "without", 0);
	peer_send(f->peer, without.text, without.len);
	add_answer(&with, 3, "with", 3);
	send_with_fds(f, &with, 3);
	expect_claimed(f, &first, "without");
	expect_claimed(f, &second, "with");
	assert_int_equal(first.nfds, 0);
	assert_int_equal(second.nfds, 3);
	assert_true(second.kept_fd >= 0);
	assert_int_equal(count_open_fds(), before + 1); /* what was not kept is closed */
	close_fd(second.kept_fd);
}

static void promised_descriptors_that_did_not_come_are_internal(void **state)
{
	struct fixture *f = *state;
	static const uint32_t promised[] = { 2, SOCKET_MAX_FDS + 1, UINT32_MAX };
	unsigned before = count_open_fds();

	for (uint32_t i = 0; i < ARRAY_SIZE(promised); i++) {
		_cleanup_(strbuf_done) struct strbuf bytes = {};
		claim(f, &f->outcome);
		add_answer(&bytes, 2 * i + 1, "poor", promised[i]);
		send_with_fds(f, &bytes, 1);
		expect_failed(f, &f->outcome, TTRPC_INTERNAL, "descriptors");
		assert_int_equal(count_open_fds(), before);
	}
}

static void descriptors_of_nobody_are_closed(void **state)
{
	struct fixture *f = *state;
	_cleanup_(strbuf_done) struct strbuf bytes = {};
	unsigned before = count_open_fds();

	start_claim(f, &f->outcome, 1);
	expect_failed(f, &f->outcome, TTRPC_DEADLINE_EXCEEDED, "");
	add_answer(&bytes, 1, "late", 2);
	send_with_fds(f, &bytes, 2);
	for (unsigned i = 0; i < 100; i++)
		send_with_fds(f, &(struct strbuf){ .text = bytes.text, .len = bytes.len }, 5);
	turn(f->loop);
	expect_alive(f, 3);
	assert_int_equal(count_open_fds(), before);
}

/* ---------------------------------------------------------------- waiting, and a real server */

static void serve_claim(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Kiln__Factory__V1__ClaimRequest *request = (const void *)message;
	Kiln__Factory__V1__ClaimResponse response = KILN__FACTORY__V1__CLAIM_RESPONSE__INIT;
	int fds[] = { open("/dev/null", O_RDONLY | O_CLOEXEC),
		      open("/dev/zero", O_RDONLY | O_CLOEXEC) };

	(void)userdata;
	response.vm_id = request->sandbox_id;
	ttrpc_call_reply_fds(call, &response.base, fds, ARRAY_SIZE(fds));
}

static void hold_for_ever(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	(void)message;
	*(struct ttrpc_call **)userdata = call;
}

static void waiting_for_a_real_server_gives_answer_and_descriptors(void **state)
{
	static const struct ttrpc_method methods[] = { { "Claim", serve_claim },
						       { "Confirm", hold_for_ever } };
	static const struct ttrpc_service service = {
		.descriptor = &kiln__factory__v1__factory__descriptor,
		.methods = methods,
		.nmethods = ARRAY_SIZE(methods),
	};
	struct fixture *f = *state;
	struct ttrpc_call *held = NULL;
	struct ttrpc_server_options options = { .userdata = &held };
	struct ttrpc_server *server = ttrpc_server_new(f->loop, &options);
	_cleanup_(error_done) struct error err = {};
	Kiln__Factory__V1__ConfirmRequest confirm = KILN__FACTORY__V1__CONFIRM_REQUEST__INIT;
	ProtobufCMessage *response = NULL;
	unsigned before = count_open_fds();
	int received[1];
	size_t nfds = 1;
	int fds[2];

	ttrpc_server_add(server, &service);
	assert_int_equal(socket_pair(fds), 0);
	assert_int_equal(ttrpc_server_serve(server, fds[0], false, NULL), 0);
	struct ttrpc_client *client = ttrpc_client_new(f->loop, fds[1], NULL);
	struct ttrpc_call_options call = claim_options(NULL, 0);
	assert_int_equal(
		ttrpc_client_call_wait(client, f->loop, &call, &response, received, &nfds, &err),
		0);
	assert_string_equal(((Kiln__Factory__V1__ClaimResponse *)response)->vm_id, "sandbox");
	protobuf_c_message_free_unpacked(response, NULL);
	assert_int_equal(nfds, 1);
	close_fd(received[0]);
	assert_int_equal(count_open_fds(), before + 2); /* the socketpair */

	call.method = "Confirm";
	call.request = &confirm.base;
	call.timeout_ms = 20;
	response = NULL;
	assert_int_equal(
		ttrpc_client_call_wait(client, f->loop, &call, &response, NULL, NULL, &err),
		-ETIMEDOUT);
	assert_non_null(strstr(error_message(&err), "20 ms"));
	assert_null(response);
	ttrpc_client_free(client);
	ttrpc_server_free(server);
	ttrpc_call_drop(held);
}

static void stop_loop(void *userdata)
{
	loop_stop(userdata);
}

static void waiting_ends_when_the_loop_is_stopped(void **state)
{
	struct fixture *f = *state;
	_cleanup_(error_done) struct error err = {};
	struct ttrpc_call_options call = claim_options(NULL, 0);
	ProtobufCMessage *response = NULL;

	loop_defer(f->loop, stop_loop, f->loop);
	assert_int_equal(
		ttrpc_client_call_wait(f->client, f->loop, &call, &response, NULL, NULL, &err),
		-ECANCELED);
	assert_non_null(strstr(error_message(&err), "stopped"));
	assert_null(response);
	/* Whoever runs the loop around the wait sees the stop as well. */
	loop_run(f->loop);
	/* The late answer is nobody's. */
	ttrpc__request__free_unpacked(await_request(f, 1), NULL);
	send_answer(f, 1, "late");
	claim(f, &f->outcome);
	ttrpc__request__free_unpacked(await_request(f, 3), NULL);
	send_answer(f, 3, "second");
	expect_claimed(f, &f->outcome, "second");
	assert_null(response);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_call_carries_what_it_was_given),
		TEST(calls_may_be_answered_in_any_order),
		TEST(a_status_is_a_failure_with_its_sentence),
		TEST(codes_nobody_knows_are_unknown),
		TEST(an_explicit_ok_is_ok),
		TEST(an_answer_that_cannot_be_decoded_is_internal),
		TEST(an_answer_over_the_limit_fails_its_call_only),
		TEST(frames_for_no_call_are_ignored),
		TEST(an_answer_by_streaming_fails_the_call),
		TEST(an_answer_may_come_in_pieces),
		TEST(many_answers_may_come_in_one_piece),
		TEST(a_peer_may_vanish_after_any_byte),
		TEST(descriptors_go_to_the_answer_they_came_with),
		TEST(promised_descriptors_that_did_not_come_are_internal),
		TEST(descriptors_of_nobody_are_closed),
		TEST(waiting_for_a_real_server_gives_answer_and_descriptors),
		TEST(waiting_ends_when_the_loop_is_stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
