/* The ttRPC client's ends and bounds: calls that time out, a peer or client that goes, too much of
 * everything; and a channel that is handed over. */
#include "ttrpc_client_fixture.h"

/* ---------------------------------------------------------------- ends */

static void a_timeout_ends_a_call_and_its_late_answer_is_ignored(void **state)
{
	struct fixture *f = *state;

	start_claim(f, &f->outcome, 20);
	expect_failed(f, &f->outcome, TTRPC_DEADLINE_EXCEEDED, "not answered within 20 ms");
	send_answer(f, 1, "late");
	expect_alive(f, 3);
	assert_int_equal(f->outcome.calls, 1);
}

static void the_end_answers_all_calls_unavailable(void **state)
{
	struct fixture *f = *state;
	struct outcome outcomes[10], again[10] = {};

	for (size_t i = 0; i < 10; i++) {
		outcomes[i] = (struct outcome){ .again = &again[i] };
		claim(f, &outcomes[i]);
	}
	peer_free(steal_ptr(f->peer));
	for (size_t i = 0; i < 10; i++)
		expect_failed(f, &outcomes[i], TTRPC_UNAVAILABLE, "connection");
	assert_int_equal(f->ended, 1);
	assert_false(ttrpc_client_connected(f->client));
	for (size_t i = 0; i < 10; i++)
		expect_failed(f, &again[i], TTRPC_UNAVAILABLE, "cannot call");
	claim(f, &f->outcome);
	expect_failed(f, &f->outcome, TTRPC_UNAVAILABLE, "cannot call");
}

static void a_call_to_a_dead_peer_fails_from_the_loop(void **state)
{
	struct fixture *f = *state;

	peer_free(steal_ptr(f->peer));
	claim(f, &f->outcome);
	expect_failed(f, &f->outcome, TTRPC_UNAVAILABLE, "");
}

static void freeing_the_client_cancels_its_calls(void **state)
{
	struct fixture *f = *state;
	struct outcome again = {}, other = { .again = &again };

	claim(f, &f->outcome);
	claim(f, &other);
	ttrpc_client_free(f->client);
	assert_int_equal(f->outcome.calls, 1);
	assert_int_equal(f->outcome.code, TTRPC_CANCELLED);
	assert_int_equal(other.code, TTRPC_CANCELLED);
	assert_int_equal(again.code, TTRPC_CANCELLED);
	assert_int_equal(f->ended, 0);
	f->client = NULL;
	peer_await_end(f->peer);
}

static void a_callback_may_free_the_client(void **state)
{
	struct fixture *f = *state;
	_cleanup_(strbuf_done) struct strbuf bytes = {};
	struct outcome other = {};

	f->outcome.free_client = true;
	claim(f, &f->outcome);
	claim(f, &other);
	add_answer(&bytes, 1, "first", 0);
	add_answer(&bytes, 3, "second", 0);
	peer_send(f->peer, bytes.text, bytes.len);
	expect_claimed(f, &f->outcome, "first");
	expect_failed(f, &other, TTRPC_CANCELLED, "");
	peer_await_end(f->peer);
}

static void a_timeout_callback_may_free_the_client(void **state)
{
	struct fixture *f = *state;

	f->outcome.free_client = true;
	start_claim(f, &f->outcome, 1);
	expect_failed(f, &f->outcome, TTRPC_DEADLINE_EXCEEDED, "");
	turn(f->loop);
}

/* ---------------------------------------------------------------- bounds and hand-over */

static int set_up_small(void **state)
{
	struct ttrpc_client_options options = {
		.first_stream = 101,
		.max_calls = 2,
		.max_pending = 100000,
	};

	return set_up_with(state, &options);
}

static void calls_past_the_bounds_are_refused(void **state)
{
	struct fixture *f = *state;
	struct outcome outcomes[3] = {};

	claim(f, &outcomes[0]);
	claim(f, &outcomes[1]);
	claim(f, &outcomes[2]);
	expect_failed(f, &outcomes[2], TTRPC_RESOURCE_EXHAUSTED, "too much is unanswered");
	send_answer(f, 101, "first");
	expect_claimed(f, &outcomes[0], "first");
	claim(f, &outcomes[2]);
	send_answer(f, 105, "third");
	expect_claimed(f, &outcomes[2], "third");
	send_answer(f, 103, "second");
	expect_claimed(f, &outcomes[1], "second");
	assert_int_equal(outcomes[2].calls, 1);
}

static void call_with_template(struct fixture *f, size_t len)
{
	_cleanup_free_ char *name = xcalloc(len + 1, 1);
	Kiln__Factory__V1__ClaimRequest request = KILN__FACTORY__V1__CLAIM_REQUEST__INIT;
	struct ttrpc_call_options options = claim_options(&f->outcome, 10);

	memset(name, 'n', len);
	request.template_ = name;
	options.request = &request.base;
	f->outcome = (struct outcome){ .f = f };
	ttrpc_client_call(f->client, &options);
	assert_false(f->outcome.done);
}

static void a_peer_that_does_not_read_is_not_written_to_for_ever(void **state)
{
	struct fixture *f = *state;

	loop_watch_set(f->peer->watch, 0);
	for (unsigned i = 0; i < 100 && f->outcome.code != TTRPC_RESOURCE_EXHAUSTED; i++) {
		call_with_template(f, 50000);
		turn_until(f->loop, &f->outcome.done);
	}
	assert_int_equal(f->outcome.code, TTRPC_RESOURCE_EXHAUSTED);
}

static void a_request_over_the_limit_is_refused(void **state)
{
	struct fixture *f = *state;

	call_with_template(f, TTRPC_DATA_MAX);
	expect_failed(f, &f->outcome, TTRPC_RESOURCE_EXHAUSTED, "");
	expect_alive(f, 1);
}

static void a_call_that_is_cancelled_is_not_called_back(void **state)
{
	struct fixture *f = *state;
	struct outcome other = {};
	struct ttrpc_pending *call = start_claim(f, &f->outcome, 0);

	claim(f, &other);
	ttrpc_pending_cancel(call);
	ttrpc_pending_cancel(NULL);
	send_answer(f, 1, "late");
	send_answer(f, 3, "other");
	expect_claimed(f, &other, "other");

	/* Also one that could not be sent, before that is told. */
	peer_free(steal_ptr(f->peer));
	turn_until(f->loop, &f->end_seen);
	ttrpc_pending_cancel(start_claim(f, &f->outcome, 0));
	claim(f, &other);
	expect_failed(f, &other, TTRPC_UNAVAILABLE, "cannot call");
	assert_int_equal(f->outcome.calls, 0);
}

static void a_channel_is_handed_over_with_its_count(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int fd = -EBADF;
	uint32_t stream = 0;

	claim(f, &f->outcome);
	assert_int_equal(ttrpc_client_detach(f->client, &fd, &stream), -EBUSY);
	send_answer(f, 1, "first");
	expect_claimed(f, &f->outcome, "first");
	peer_send(f->peer, "\0", 1);
	turn(f->loop);
	assert_int_equal(ttrpc_client_detach(f->client, &fd, &stream), -EBUSY);
	peer_send(f->peer, "\0\0\0\0\0\0\0\2\0", 9);
	turn(f->loop);
	assert_int_equal(ttrpc_client_detach(f->client, &fd, &stream), 0);
	assert_int_equal(stream, 3);

	struct ttrpc_client_options options = { .first_stream = stream };
	f->client = ttrpc_client_new(f->loop, steal_fd(&fd), &options);
	claim(f, &f->outcome);
	ttrpc__request__free_unpacked(await_request(f, 1), NULL);
	ttrpc__request__free_unpacked(await_request(f, 3), NULL);
	send_answer(f, 3, "second");
	expect_claimed(f, &f->outcome, "second");
}

#define SMALL_TEST(name) cmocka_unit_test_setup_teardown(name, set_up_small, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_timeout_ends_a_call_and_its_late_answer_is_ignored),
		TEST(the_end_answers_all_calls_unavailable),
		TEST(a_call_to_a_dead_peer_fails_from_the_loop),
		TEST(freeing_the_client_cancels_its_calls),
		TEST(a_callback_may_free_the_client),
		TEST(a_timeout_callback_may_free_the_client),
		SMALL_TEST(calls_past_the_bounds_are_refused),
		SMALL_TEST(a_peer_that_does_not_read_is_not_written_to_for_ever),
		TEST(a_request_over_the_limit_is_refused),
		TEST(a_call_that_is_cancelled_is_not_called_back),
		TEST(a_channel_is_handed_over_with_its_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
