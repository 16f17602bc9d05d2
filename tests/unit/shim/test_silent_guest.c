/* A guest that does not do what it must, seen by containerd: its machine is ended, and everything
 * in it is reported as killed. */
#include "shim_bench.h"

#define QUICK_KILL "{\"kill_s\": 1}"

/* A container that runs, and an exec of it; the first process is being waited for. */
static void start_two(struct bench *bench, struct answer *waited, const char *config)
{
	Containerd__Task__V2__WaitRequest request = CONTAINERD__TASK__V2__WAIT_REQUEST__INIT;

	bench->config = config;
	expect_ok(bench_create(bench, "c1"));
	expect_ok(bench_start(bench, "c1", ""));
	expect_ok(bench_exec(bench, "c1", "x1", PROCESS_JSON));
	expect_ok(bench_start(bench, "c1", "x1"));
	request.id = (char *)"c1";
	bench_send(bench, "Wait", &request.base, 0, waited);
}

static void expect_all_killed(struct bench *bench, struct answer *waited)
{
	await(bench->loop, waited->done);
	assert_int_equal(waited->exit_status, PROCESS_KILLED_STATUS);
	await(bench->loop, strstr(strbuf_text(&bench->events), "exit(x1)") &&
				   strstr(strbuf_text(&bench->events), "exit(c1)"));
	assert_int_equal(bench->last_exit_status, PROCESS_KILLED_STATUS);
	await(bench->loop, bench->releases == 1);
	expect_ok(bench_delete(bench, "c1", ""));
	assert_false(bench_is_shared(bench, "c1"));
}

static void unanswered_sigkill_ends_the_machine(void **state)
{
	struct bench *bench = *state;
	static struct answer waited;

	start_two(bench, &waited, QUICK_KILL);
	bench->agent.hold_method = "SignalProcess";
	expect_ok(bench_kill(bench, "c1", "", SIGKILL));
	expect_all_killed(bench, &waited);
}

static void sigkill_that_ends_nothing_ends_the_machine(void **state)
{
	struct bench *bench = *state;
	static struct answer waited;

	start_two(bench, &waited, QUICK_KILL);
	expect_ok(bench_kill(bench, "c1", "", SIGKILL));
	expect_all_killed(bench, &waited);
}

static void refused_sigkill_ends_the_machine(void **state)
{
	struct bench *bench = *state;
	static struct answer waited;

	start_two(bench, &waited, QUICK_KILL);
	bench->agent.fail_method = "SignalProcess";
	bench->agent.fail_code = TTRPC_PERMISSION_DENIED;
	expect(bench_kill(bench, "c1", "x1", SIGKILL), TTRPC_PERMISSION_DENIED, "scripted");
	expect_all_killed(bench, &waited);
}

static void other_signals_may_be_without_effect(void **state)
{
	struct bench *bench = *state;
	static struct answer waited;

	start_two(bench, &waited, QUICK_KILL);
	expect_ok(bench_kill(bench, "c1", "", SIGTERM));
	turn(bench->loop, 1500);
	assert_false(waited.done);
	assert_int_equal(bench->releases, 0);
	bench->agent.die_by_signal = true;
	expect_ok(bench_kill(bench, "c1", "", SIGKILL));
	fake_stream_set(&bench->agent.out, NULL, 0, true);
	fake_stream_set(&bench->agent.err, NULL, 0, true);
	await(bench->loop, waited.done);
	turn(bench->loop, 1500); /* what ended in time ends nothing else */
	assert_int_equal(bench->releases, 0);
}

static void sigkill_of_an_exec_that_is_not_there_yet_ends_nothing(void **state)
{
	struct bench *bench = *state;
	Containerd__Task__V2__StartRequest request = CONTAINERD__TASK__V2__START_REQUEST__INIT;
	Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
	static struct answer answer;

	bench->config = QUICK_KILL;
	expect_ok(bench_create(bench, "c1"));
	expect_ok(bench_start(bench, "c1", ""));
	expect_ok(bench_exec(bench, "c1", "x1", PROCESS_JSON));
	bench->agent.hold_method = "ExecProcess";
	request.id = (char *)"c1";
	request.exec_id = (char *)"x1";
	bench_send(bench, "Start", &request.base, 0, &answer);
	await(bench->loop, bench->agent.held);
	bench->agent.fail_method = "SignalProcess";
	bench->agent.fail_code = TTRPC_NOT_FOUND;
	expect(bench_kill(bench, "c1", "x1", SIGKILL), TTRPC_NOT_FOUND, "already finished");
	bench->agent.hold_method = NULL;
	ttrpc_call_reply(steal_ptr(bench->agent.held), &empty.base);
	await(bench->loop, answer.done);
	turn(bench->loop, 1500);
	assert_int_equal(bench->releases, 0);
}

/* Its end says that it was heard: nobody waits for the answer, and no machine is given up. */
static void sigkill_is_answered_where_the_process_has_ended(void **state)
{
	struct bench *bench = *state;
	Containerd__Task__V2__KillRequest request = CONTAINERD__TASK__V2__KILL_REQUEST__INIT;
	static struct answer waited, killed;

	start_two(bench, &waited, QUICK_KILL);
	bench->agent.hold_method = "SignalProcess";
	request.id = (char *)"c1";
	request.signal = SIGKILL;
	bench_send(bench, "Kill", &request.base, 0, &killed);
	await(bench->loop, bench->agent.held);
	assert_true(fake_agent_exit(&bench->agent, "", 137));
	fake_stream_set(&bench->agent.out, NULL, 0, true);
	fake_stream_set(&bench->agent.err, NULL, 0, true);
	await(bench->loop, killed.done);
	assert_int_equal(killed.code, TTRPC_OK);
	await(bench->loop, waited.done);
	assert_int_equal(bench->releases, 0);
}

static void delete_of_a_created_container_in_a_silent_guest(void **state)
{
	struct bench *bench = *state;

	bench->config = QUICK_KILL;
	expect_ok(bench_create(bench, "c1"));
	bench->agent.hold_method = "SignalProcess";
	assert_int_equal(bench_delete(bench, "c1", "").exit_status, PROCESS_KILLED_STATUS);
	await(bench->loop, bench->releases == 1);
	assert_false(bench_is_shared(bench, "c1"));
}

static void guest_that_leaves_checks_unanswered_is_ended(void **state)
{
	struct bench *bench = *state;
	static struct answer waited;

	start_two(bench, &waited, "{\"check_s\": 1, \"check_misses\": 2}");
	bench->agent.answers_checks = true;
	await(bench->loop, bench->agent.nchecks == 1);
	bench->agent.answers_checks = false;
	await(bench->loop, bench->agent.nchecks == 2);
	turn(bench->loop, 500);
	bench->agent.answers_checks = true; /* it was slow: one miss */
	await(bench->loop, bench->agent.nchecks == 4);
	assert_int_equal(bench->releases, 0);
	bench->agent.answers_checks = false;
	expect_all_killed(bench, &waited);
	assert_int_equal(bench->agent.nchecks, 6);
}

/* As where so many calls are under way that no Check can be sent. */
static void guest_that_could_not_be_checked_lives_on(void **state)
{
	struct bench *bench = *state;
	static struct answer waited;

	start_two(bench, &waited, "{\"check_s\": 1, \"check_misses\": 1}");
	bench->agent.fail_method = "Check";
	bench->agent.fail_code = TTRPC_RESOURCE_EXHAUSTED;
	await(bench->loop, bench->agent.nchecks == 2);
	turn(bench->loop, 100);
	assert_int_equal(bench->releases, 0);
	bench->agent.fail_method = NULL;
	expect_all_killed(bench, &waited);
}

static void guest_is_not_asked_where_that_is_turned_off(void **state)
{
	struct bench *bench = *state;
	static struct answer waited;

	start_two(bench, &waited, "{\"check_s\": 0, \"check_misses\": 1}");
	turn(bench->loop, 1500);
	assert_int_equal(bench->agent.nchecks, 0);
	assert_int_equal(bench->releases, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(unanswered_sigkill_ends_the_machine),
		T(sigkill_that_ends_nothing_ends_the_machine),
		T(refused_sigkill_ends_the_machine),
		T(other_signals_may_be_without_effect),
		T(sigkill_of_an_exec_that_is_not_there_yet_ends_nothing),
		T(sigkill_is_answered_where_the_process_has_ended),
		T(delete_of_a_created_container_in_a_silent_guest),
		T(guest_that_leaves_checks_unanswered_is_ended),
		T(guest_that_could_not_be_checked_lives_on),
		T(guest_is_not_asked_where_that_is_turned_off),
	};

	log_set_level(LOG_LEVEL_ERROR);
	if (!bench_private_mounts())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
