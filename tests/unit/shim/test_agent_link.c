/* The shim's link to an agent that lies: each call is answered once, the loss is told once, and
 * what comes besides is ignored. */
#include "tests/unit/proto/scripted_peer.h"

#include "google/protobuf/empty.pb-c.h"
#include "proto/agent.pb-c.h"
#include "shim/agent_link.h"

#define FOREVER 0

struct bench {
	struct loop *loop;
	struct peer_end *peer;
	struct ttrpc_client *client;
	struct agent_link *link;
	unsigned losses;
	enum guest_loss loss;
	bool is_lost;
};

struct outcome {
	struct bench *bench;
	unsigned answers;
	bool done;
	enum ttrpc_code code;
	bool free_link; /* by the callback */
};

static void on_lost(enum guest_loss loss, void *userdata)
{
	struct bench *bench = userdata;

	bench->losses++;
	bench->loss = loss;
	bench->is_lost = true;
}

static int setup(void **state)
{
	struct bench *bench = xnew(struct bench);
	int pair[2];

	bench->loop = loop_new();
	assert_int_equal(socket_pair(pair), 0);
	bench->peer = peer_new(bench->loop, pair[1]);
	bench->client = ttrpc_client_new(bench->loop, pair[0], &(struct ttrpc_client_options){});
	bench->link = agent_link_new(bench->loop, bench->client, on_lost, bench);
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	if (bench->link)
		agent_link_set(bench->link, NULL);
	ttrpc_client_free(bench->client);
	agent_link_free(bench->link);
	if (bench->peer)
		peer_free(bench->peer);
	loop_free(bench->loop);
	free(bench);
	return 0;
}

static void on_reply(const struct ttrpc_reply *reply, void *userdata)
{
	struct outcome *outcome = userdata;

	outcome->answers++;
	outcome->done = true;
	outcome->code = reply->code;
	if (outcome->free_link)
		agent_link_free(steal_ptr(outcome->bench->link));
}

static struct agent_call *call(struct bench *bench, struct outcome *outcome, uint64_t timeout_ms)
{
	Grpc__SignalProcessRequest request = GRPC__SIGNAL_PROCESS_REQUEST__INIT;

	outcome->bench = bench;
	return agent_call(bench->link, "SignalProcess", &request.base, timeout_ms, on_reply,
			  outcome);
}

static void add_answer(struct strbuf *bytes, uint32_t stream)
{
	Ttrpc__Response response = TTRPC__RESPONSE__INIT; /* Empty has no bytes */

	frame_add_message(bytes, stream, TTRPC_RESPONSE, 0, &response.base);
}

static void answer(struct bench *bench, uint32_t stream)
{
	_cleanup_(strbuf_done) struct strbuf bytes = {};

	add_answer(&bytes, stream);
	peer_send(bench->peer, bytes.text, bytes.len);
}

static void expect_once(struct bench *bench, struct outcome *outcome, enum ttrpc_code code)
{
	turn_until(bench->loop, &outcome->done);
	turn(bench->loop);
	assert_int_equal(outcome->answers, 1);
	assert_int_equal(outcome->code, code);
}

/* That a fresh call, on this stream, still works. */
static void expect_alive(struct bench *bench, uint32_t stream)
{
	struct outcome outcome = {};

	call(bench, &outcome, FOREVER);
	answer(bench, stream);
	expect_once(bench, &outcome, TTRPC_OK);
	assert_int_equal(bench->losses, 0);
}

static void expect_lost_once(struct bench *bench, enum guest_loss loss)
{
	turn_until(bench->loop, &bench->is_lost);
	turn(bench->loop);
	assert_int_equal(bench->losses, 1);
	assert_int_equal(bench->loss, loss);
}

static void an_agent_that_never_answers_is_given_up_once(void **state)
{
	struct bench *bench = *state;
	struct outcome bounded = {}, unbounded = {};

	call(bench, &bounded, 20);
	call(bench, &unbounded, FOREVER);
	expect_once(bench, &bounded, TTRPC_DEADLINE_EXCEEDED);
	assert_int_equal(bench->losses, 0);
	agent_link_give_up(bench->link);
	agent_link_give_up(bench->link);
	assert_int_equal(bench->losses, 0); /* not from within */
	expect_lost_once(bench, GUEST_SILENT);
	peer_free(steal_ptr(bench->peer));
	expect_once(bench, &unbounded, TTRPC_UNAVAILABLE);
	expect_lost_once(bench, GUEST_SILENT);
}

static void a_link_that_is_down_is_not_given_up(void **state)
{
	struct bench *bench = *state;
	struct outcome outcome = {};

	agent_link_give_up(bench->link);
	agent_link_set(bench->link, NULL); /* released meanwhile */
	agent_link_give_up(bench->link);
	call(bench, &outcome, FOREVER);
	assert_int_equal(outcome.answers, 0);
	expect_once(bench, &outcome, TTRPC_UNAVAILABLE);
	assert_int_equal(bench->losses, 0);
}

static void the_second_answer_is_ignored(void **state)
{
	struct bench *bench = *state;
	_cleanup_(strbuf_done) struct strbuf bytes = {};
	struct outcome outcome = {}, next = {};

	call(bench, &outcome, FOREVER);
	for (int i = 0; i < 3; i++)
		add_answer(&bytes, 1);
	peer_send(bench->peer, bytes.text, bytes.len);
	expect_once(bench, &outcome, TTRPC_OK);
	call(bench, &next, FOREVER);
	answer(bench, 1);
	turn(bench->loop);
	assert_int_equal(next.answers, 0);
	answer(bench, 3);
	expect_once(bench, &next, TTRPC_OK);
	expect_alive(bench, 5);
}

static void answers_for_other_calls_are_ignored(void **state)
{
	static const uint32_t streams[] = { 0, 2, 3, 99, UINT32_MAX };
	struct bench *bench = *state;
	struct outcome outcome = {};

	call(bench, &outcome, FOREVER);
	for (size_t i = 0; i < ARRAY_SIZE(streams); i++)
		answer(bench, streams[i]);
	turn(bench->loop);
	assert_int_equal(outcome.answers, 0);
	answer(bench, 1);
	expect_once(bench, &outcome, TTRPC_OK);
	expect_alive(bench, 3);
}

static void an_agent_may_vanish_after_any_byte(void **state)
{
	size_t len = 1;

	for (size_t sent = 0; sent <= len; sent++) {
		_cleanup_(strbuf_done) struct strbuf bytes = {};
		struct outcome outcome = {}, next = {};
		struct bench *bench;

		teardown(state);
		setup(state);
		bench = *state;
		call(bench, &outcome, FOREVER);
		add_answer(&bytes, 1);
		len = bytes.len;
		peer_send(bench->peer, bytes.text, sent);
		peer_free(steal_ptr(bench->peer));
		expect_once(bench, &outcome, sent == len ? TTRPC_OK : TTRPC_UNAVAILABLE);
		call(bench, &next, FOREVER);
		expect_once(bench, &next, TTRPC_UNAVAILABLE);
		expect_lost_once(bench, GUEST_GONE);
	}
}

static void frames_of_4_mib_fail_their_call_only(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *junk = xcalloc(TTRPC_DATA_MAX + 1, 1);
	_cleanup_(strbuf_done) struct strbuf bytes = {};
	struct outcome largest = {}, larger = {};

	call(bench, &largest, FOREVER);
	call(bench, &larger, FOREVER);
	for (uint32_t stream = 100; stream < 108; stream++) /* nobody's */
		frame_add(&bytes, stream, TTRPC_RESPONSE, 0, junk, TTRPC_DATA_MAX);
	frame_add(&bytes, 1, TTRPC_RESPONSE, 0, junk, TTRPC_DATA_MAX);
	frame_add(&bytes, 3, TTRPC_RESPONSE, 0, junk, TTRPC_DATA_MAX + 1);
	peer_send(bench->peer, bytes.text, bytes.len);
	expect_once(bench, &largest, TTRPC_INTERNAL);
	expect_once(bench, &larger, TTRPC_RESOURCE_EXHAUSTED);
	expect_alive(bench, 5);
}

static void nobody_hears_of_a_cancelled_call(void **state)
{
	struct bench *bench = *state;
	struct outcome answered = {}, down = {}, next = {};

	agent_call_cancel(NULL);
	agent_call_cancel(call(bench, &answered, FOREVER));
	answer(bench, 1);
	expect_alive(bench, 3);
	agent_link_set(bench->link, NULL);
	agent_call_cancel(call(bench, &down, FOREVER));
	call(bench, &next, FOREVER);
	expect_once(bench, &next, TTRPC_UNAVAILABLE);
	assert_int_equal(answered.answers + down.answers, 0);
}

static void a_link_may_go_before_its_calls(void **state)
{
	struct bench *bench = *state;
	struct outcome outcomes[3] = { { .free_link = true } };

	for (size_t i = 0; i < ARRAY_SIZE(outcomes); i++)
		call(bench, &outcomes[i], FOREVER);
	answer(bench, 1);
	expect_once(bench, &outcomes[0], TTRPC_OK);
	assert_null(bench->link);
	answer(bench, 3);
	expect_once(bench, &outcomes[1], TTRPC_OK);
	ttrpc_client_free(steal_ptr(bench->client));
	expect_once(bench, &outcomes[2], TTRPC_CANCELLED);
	assert_int_equal(bench->losses, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_agent_that_never_answers_is_given_up_once),
		T(a_link_that_is_down_is_not_given_up),
		T(the_second_answer_is_ignored),
		T(answers_for_other_calls_are_ignored),
		T(an_agent_may_vanish_after_any_byte),
		T(frames_of_4_mib_fail_their_call_only),
		T(nobody_hears_of_a_cancelled_call),
		T(a_link_may_go_before_its_calls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
