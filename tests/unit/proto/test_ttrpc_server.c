/* The ttRPC server against a peer that says what it likes: answers, bytes, deadlines and ends. */
#include <fcntl.h>

#include "ttrpc_server_fixture.h"

/* ---------------------------------------------------------------- answering */

static void a_call_is_answered(void **state)
{
	struct fixture *f = *state;

	send_claim(f->peer, 1, "vm");
	expect_claimed(f->peer, 1, "vm");
	assert_int_equal(f->caller.pid, getpid());
	assert_int_equal(f->caller.uid, getuid());
	assert_string_equal(f->metadata, "blue");
	assert_true(f->time_left == UINT64_MAX);
	assert_int_equal(ttrpc_server_calls(f->server), 0);
}

static void calls_in_flight_are_answered_in_any_order(void **state)
{
	struct fixture *f = *state;

	for (uint32_t i = 0; i < 100; i++)
		send_claim(f->peer, 2 * i + 1, "hold");
	await_held(f, 100);
	assert_int_equal(ttrpc_server_calls(f->server), 100);
	expect_alive(f->peer);
	while (f->nheld > 0) {
		answer(f->held[--f->nheld], "late", 0);
		expect_claimed(f->peer, 2 * f->nheld + 1, "late");
	}
	assert_int_equal(ttrpc_server_calls(f->server), 0);
	assert_int_equal(f->cancelled, 0);
}

static void a_dropped_call_is_answered_internal(void **state)
{
	struct fixture *f = *state;

	send_claim(f->peer, 1, "drop");
	expect_failure(f->peer, 1, TTRPC_INTERNAL, FACTORY ".Claim was not answered");
}

static void a_failure_is_a_code_and_a_clean_sentence(void **state)
{
	struct fixture *f = *state;

	send_claim(f->peer, 1, "fail");
	expect_failure(f->peer, 1, TTRPC_NOT_FOUND, "no machine ?  here");
	send_claim(f->peer, 3, "fail as ok");
	expect_failure(f->peer, 3, TTRPC_INTERNAL, "not so");
}

static void an_answer_of_another_type_is_internal(void **state)
{
	struct fixture *f = *state;

	send_claim(f->peer, 1, "wrong");
	expect_failure(f->peer, 1, TTRPC_INTERNAL, "ClaimResponse");
	expect_alive(f->peer);
}

static void an_answer_over_the_limit_is_resource_exhausted(void **state)
{
	struct fixture *f = *state;
	/* Envelope and message around the reason: tags and lengths. */
	uint32_t largest = TTRPC_DATA_MAX - 5 - 5 - 5;

	send_claim_with(f->peer, 1, "big", OVER_LIMIT, 0);
	expect_failure(f->peer, 1, TTRPC_RESOURCE_EXHAUSTED, "a frame holds at most 4194304");
	send_claim_with(f->peer, 3, "big", largest, 0);
	expect_claimed_with(f->peer, 3, "big", largest);
	expect_alive(f->peer);
}

static void descriptors_travel_with_the_answer(void **state)
{
	struct fixture *f = *state;
	unsigned before = count_open_fds();

	send_claim_with(f->peer, 1, "fds", 3, 0);
	Ttrpc__Response *response = await_response(f->peer, 1);
	assert_int_equal(response->fds, 3);
	assert_int_equal(f->peer->nfds, 3);
	ttrpc__response__free_unpacked(response, NULL);
	assert_int_equal(count_open_fds(), before + 3);

	send_claim_with(f->peer, 3, "fds", SOCKET_MAX_FDS + 1, 0);
	expect_failure(f->peer, 3, TTRPC_INTERNAL, "too many fds");
	assert_int_equal(count_open_fds(), before + 3);
}

/* ---------------------------------------------------------------- bytes */

static void a_request_may_come_in_pieces(void **state)
{
	struct fixture *f = *state;
	_cleanup_(strbuf_done) struct strbuf bytes = {};

	add_claim(&bytes, 1, "pieces", 0, 0);
	for (size_t split = 0; split <= bytes.len; split++) {
		peer_send(f->peer, bytes.text, split);
		turn(f->loop);
		peer_send(f->peer, bytes.text + split, bytes.len - split);
		expect_claimed(f->peer, 1, "pieces");
	}
	for (size_t i = 0; i < bytes.len; i++) {
		peer_send(f->peer, bytes.text + i, 1);
		turn(f->loop);
	}
	expect_claimed(f->peer, 1, "pieces");
}

static void many_requests_may_come_in_one_piece(void **state)
{
	struct fixture *f = *state;
	_cleanup_(strbuf_done) struct strbuf bytes = {};

	for (uint32_t i = 0; i < 3000; i++)
		add_claim(&bytes, 2 * i + 1, "merged", 0, 0);
	peer_send(f->peer, bytes.text, bytes.len);
	for (uint32_t i = 0; i < 3000; i++)
		expect_claimed(f->peer, 2 * i + 1, "merged");
}

static void a_peer_may_vanish_after_any_byte(void **state)
{
	struct fixture *f = *state;
	_cleanup_(strbuf_done) struct strbuf bytes = {};

	add_claim(&bytes, 1, "hold, drop when cancelled", 0, 0);
	add_claim(&bytes, 3, "answered", 0, 0);
	for (size_t len = 0; len <= bytes.len; len++) {
		struct peer_end *peer = serve_peer(f, NULL);
		peer_send(peer, bytes.text, len);
		if (len % 2)
			turn(f->loop);
		peer_free(peer);
		f->conn_ended = false;
		turn_until(f->loop, &f->conn_ended);
		assert_int_equal(f->conns_ended, len + 1);
		assert_int_equal(ttrpc_server_calls(f->server), 0);
	}
	assert_true(f->cancelled > 0);
	expect_alive(f->peer);
}

static void a_request_over_the_limit_is_thrown_away_and_refused(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *junk = xcalloc(OVER_LIMIT, 1);

	send_frame(f->peer, 1, TTRPC_REQUEST, 0, junk, OVER_LIMIT);
	expect_failure(f->peer, 1, TTRPC_RESOURCE_EXHAUSTED, "4194305 bytes");
	expect_alive(f->peer);
}

static void a_request_that_is_no_protobuf_is_refused(void **state)
{
	struct fixture *f = *state;
	_cleanup_(strbuf_done) struct strbuf bytes = {};

	send_frame(f->peer, 1, TTRPC_REQUEST, 0, "\xff\xff\xff\xff", 4);
	expect_failure(f->peer, 1, TTRPC_INVALID_ARGUMENT, "as ttrpc.Request");
	add_raw_request(&bytes, 3, 0, FACTORY, "Claim", "\xff\xff\xff\xff", 4, 0);
	peer_send(f->peer, bytes.text, bytes.len);
	expect_failure(f->peer, 3, TTRPC_INVALID_ARGUMENT, "as kiln.factory.v1.ClaimRequest");
	send_frame(f->peer, 5, TTRPC_REQUEST, 0, "", 0);
	expect_failure(f->peer, 5, TTRPC_UNIMPLEMENTED, "\"\"");
	assert_int_equal(f->handled, 0);
	expect_alive(f->peer);
}

static void unknown_services_and_methods_are_named(void **state)
{
	struct fixture *f = *state;
	_cleanup_(strbuf_done) struct strbuf bytes = {};

	add_raw_request(&bytes, 1, 0, "no.Such", "Claim", NULL, 0, 0);
	add_raw_request(&bytes, 3, 0, FACTORY, "Nonsense", NULL, 0, 0);
	add_raw_request(&bytes, 5, 0, FACTORY, "List", NULL, 0, 0); /* there, but not served */
	peer_send(f->peer, bytes.text, bytes.len);
	expect_failure(f->peer, 1, TTRPC_UNIMPLEMENTED, "\"no.Such\"");
	expect_failure(f->peer, 3, TTRPC_UNIMPLEMENTED, "\"Nonsense\"");
	expect_failure(f->peer, 5, TTRPC_UNIMPLEMENTED, "\"List\"");
}

static void stream_ids_that_no_client_uses_are_refused(void **state)
{
	struct fixture *f = *state;

	send_claim(f->peer, 0, "zero");
	expect_failure(f->peer, 0, TTRPC_INVALID_ARGUMENT, "odd");
	send_claim(f->peer, 2, "even");
	expect_failure(f->peer, 2, TTRPC_INVALID_ARGUMENT, "odd");
	send_claim(f->peer, 5, "hold");
	await_held(f, 1);
	send_claim(f->peer, 5, "again");
	expect_failure(f->peer, 5, TTRPC_INVALID_ARGUMENT, "in flight");
	answer(f->held[--f->nheld], "first", 0);
	expect_claimed(f->peer, 5, "first");
	send_claim(f->peer, 3, "backwards");
	expect_claimed(f->peer, 3, "backwards");
	send_claim(f->peer, 5, "anew");
	expect_claimed(f->peer, 5, "anew");
}

static void streaming_is_refused_call_by_call(void **state)
{
	struct fixture *f = *state;
	_cleanup_(strbuf_done) struct strbuf bytes = {};

	add_raw_request(&bytes, 1, TTRPC_FLAG_REMOTE_OPEN, FACTORY, "Claim", NULL, 0, 0);
	frame_add(&bytes, 1, TTRPC_DATA, 0, "data", 4);
	frame_add(&bytes, 1, TTRPC_DATA, TTRPC_FLAG_REMOTE_CLOSED | TTRPC_FLAG_NO_DATA, "", 0);
	peer_send(f->peer, bytes.text, bytes.len);
	expect_failure(f->peer, 1, TTRPC_UNIMPLEMENTED, "streaming");
	assert_int_equal(f->handled, 0);

	send_claim(f->peer, 3, "hold");
	await_held(f, 1);
	send_frame(f->peer, 3, TTRPC_DATA, 0, "data", 4);
	expect_failure(f->peer, 3, TTRPC_UNIMPLEMENTED, "streaming");
	assert_int_equal(f->cancelled, 1);
	expect_alive(f->peer);
}

static void frames_of_other_types_end_one_call_at_most(void **state)
{
	struct fixture *f = *state;

	send_frame(f->peer, 1, TTRPC_RESPONSE, 0, "", 0); /* to nothing we asked */
	send_frame(f->peer, 3, 77, 0, "?", 1);
	expect_failure(f->peer, 3, TTRPC_UNIMPLEMENTED, "type 77");
	expect_alive(f->peer);
}

static void descriptors_nobody_asked_for_are_closed(void **state)
{
	struct fixture *f = *state;
	_cleanup_(strbuf_done) struct strbuf bytes = {};
	unsigned before = count_open_fds();
	int fds[SOCKET_MAX_FDS];

	add_claim(&bytes, 1, "stray", 0, 0);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = f->peer->fd;
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(
			socket_send(f->peer->fd, bytes.text, bytes.len, fds, ARRAY_SIZE(fds)),
			bytes.len);
		expect_claimed(f->peer, 1, "stray");
	}
	assert_int_equal(count_open_fds(), before);
}

/* ---------------------------------------------------------------- deadlines and ends */

static void a_deadline_is_answered_and_cancels(void **state)
{
	struct fixture *f = *state;

	send_claim_with(f->peer, 1, "hold", 0, 30 * NS_PER_MS);
	expect_failure(f->peer, 1, TTRPC_DEADLINE_EXCEEDED, "was not answered within 30 ms");
	assert_true(f->time_left <= 30);
	assert_int_equal(f->cancelled, 1);
	assert_int_equal(ttrpc_server_calls(f->server), 0);
	assert_int_equal(ttrpc_call_time_left(f->held[0]), 0);
	assert_ptr_equal(ttrpc_call_conn(f->held[0]), f->conn);
	/* Too late: goes nowhere, and the stream is free meanwhile. */
	send_claim(f->peer, 1, "anew");
	expect_claimed(f->peer, 1, "anew");
	answer(f->held[--f->nheld], "late", 0);
	expect_alive(f->peer);
	assert_int_equal(f->cancelled, 1);
}

static void an_answer_in_time_stops_the_deadline(void **state)
{
	struct fixture *f = *state;

	send_claim_with(f->peer, 1, "in time", 0, 20 * NS_PER_MS);
	expect_claimed(f->peer, 1, "in time");
	send_claim_with(f->peer, 3, "hold", 0, 40 * NS_PER_MS);
	expect_failure(f->peer, 3, TTRPC_DEADLINE_EXCEEDED, "40 ms");
	expect_alive(f->peer);
}

static void a_handler_may_end_its_call_when_cancelled(void **state)
{
	struct fixture *f = *state;

	send_claim_with(f->peer, 1, "hold, drop when cancelled", 0, NS_PER_MS);
	expect_failure(f->peer, 1, TTRPC_DEADLINE_EXCEEDED, "1 ms");
	assert_int_equal(f->cancelled, 1);
	expect_alive(f->peer);
}

static void calls_outlive_their_connection(void **state)
{
	struct fixture *f = *state;

	send_claim(f->peer, 1, "hold");
	send_claim(f->peer, 3, "hold");
	await_held(f, 2);
	peer_free(steal_ptr(f->peer));
	turn_until(f->loop, &f->conn_ended);
	turn(f->loop);
	assert_int_equal(f->cancelled, 2);
	assert_int_equal(f->cancelled_before_end, 2);
	assert_int_equal(ttrpc_server_calls(f->server), 0);
	assert_null(ttrpc_call_conn(f->held[0]));
	assert_string_equal(ttrpc_call_method(f->held[0]), "Claim");
	assert_string_equal(ttrpc_call_metadata(f->held[0], "colour"), "blue");
	answer(f->held[0], "into nothing", 0);
	answer_with_fds(f->held[1], 2);
	f->nheld = 0;
}

static void calls_outlive_their_server(void **state)
{
	struct fixture *f = *state;

	send_claim_with(f->peer, 1, "hold", 0, 10000 * (int64_t)NS_PER_MS);
	await_held(f, 1);
	ttrpc_server_free(steal_ptr(f->server));
	assert_int_equal(f->cancelled, 1);
	assert_int_equal(f->conns_ended, 1);
	turn(f->loop);
	assert_true(ttrpc_call_cancelled(f->held[0]));
	answer(f->held[--f->nheld], "into nothing", 0);
	peer_await_end(f->peer);
}

static void on_cancel_set_too_late_is_called_from_the_loop(void **state)
{
	struct fixture *f = *state;

	send_claim(f->peer, 1, "hold");
	send_claim(f->peer, 3, "hold");
	await_held(f, 2);
	ttrpc_conn_close(f->conn);
	turn(f->loop);
	assert_int_equal(f->cancelled, 2);
	ttrpc_call_on_cancel(f->held[0], on_cancel, f);
	ttrpc_call_on_cancel(f->held[1], on_cancel, f);
	assert_int_equal(f->cancelled, 2);
	ttrpc_call_drop(f->held[1]); /* ended before its turn: not called any more */
	f->nheld = 1;
	turn(f->loop);
	assert_int_equal(f->cancelled, 3);
}

static void a_handler_may_close_its_connection(void **state)
{
	struct fixture *f = *state;

	send_claim(f->peer, 1, "close");
	peer_await_end(f->peer);
	turn(f->loop);
	assert_int_equal(f->conns_ended, 1);
	assert_int_equal(f->peer->received.len, 0);
}

static void a_handler_may_free_the_server(void **state)
{
	struct fixture *f = *state;
	_cleanup_(strbuf_done) struct strbuf bytes = {};

	add_claim(&bytes, 1, "free", 0, 0);
	add_claim(&bytes, 3, "never handled", 0, 0);
	peer_send(f->peer, bytes.text, bytes.len);
	peer_await_end(f->peer);
	assert_int_equal(f->handled, 1);
	assert_int_equal(f->conns_ended, 1);
}

static void an_on_cancel_may_free_the_server(void **state)
{
	struct fixture *f = *state;
	_cleanup_(peer_free_cleanup) struct peer_end *other = serve_peer(f, NULL);

	send_claim(f->peer, 1, "free server when cancelled");
	while (f->handled == 0)
		turn(f->loop);
	peer_free(steal_ptr(f->peer));
	turn_until(f->loop, &f->was_cancelled);
	peer_await_end(other);
	assert_null(f->server);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_call_is_answered),
		TEST(calls_in_flight_are_answered_in_any_order),
		TEST(a_dropped_call_is_answered_internal),
		TEST(a_failure_is_a_code_and_a_clean_sentence),
		TEST(an_answer_of_another_type_is_internal),
		TEST(an_answer_over_the_limit_is_resource_exhausted),
		TEST(descriptors_travel_with_the_answer),
		TEST(a_request_may_come_in_pieces),
		TEST(many_requests_may_come_in_one_piece),
		TEST(a_peer_may_vanish_after_any_byte),
		TEST(a_request_over_the_limit_is_thrown_away_and_refused),
		TEST(a_request_that_is_no_protobuf_is_refused),
		TEST(unknown_services_and_methods_are_named),
		TEST(stream_ids_that_no_client_uses_are_refused),
		TEST(streaming_is_refused_call_by_call),
		TEST(frames_of_other_types_end_one_call_at_most),
		TEST(descriptors_nobody_asked_for_are_closed),
		TEST(a_deadline_is_answered_and_cancels),
		TEST(an_answer_in_time_stops_the_deadline),
		TEST(a_handler_may_end_its_call_when_cancelled),
		TEST(calls_outlive_their_connection),
		TEST(calls_outlive_their_server),
		TEST(on_cancel_set_too_late_is_called_from_the_loop),
		TEST(a_handler_may_close_its_connection),
		TEST(a_handler_may_free_the_server),
		TEST(an_on_cancel_may_free_the_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
