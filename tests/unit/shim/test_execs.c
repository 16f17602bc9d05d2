/* Processes of a container besides its first one, and what all of them have in common, between a
 * scripted factory, agent and containerd. */
#include "shim_bench.h"

#include "shim/process.h"
#include "shim/sandbox.h"

static void failed_start_stops_the_exec_without_events(void **state)
{
	struct bench *bench = *state;
	struct answer answer;

	expect_ok(bench_create(bench, "c1"));
	expect_ok(bench_start(bench, "c1", ""));
	expect_ok(bench_exec(bench, "c1", "x1", PROCESS_JSON));
	bench->agent.fail_method = "ExecProcess";
	bench->agent.fail_code = TTRPC_INVALID_ARGUMENT;
	expect(bench_start(bench, "c1", "x1"), TTRPC_INVALID_ARGUMENT, "scripted failure");
	answer = bench_wait(bench, "c1", "x1");
	assert_int_equal(answer.exit_status, PROCESS_LOST_STATUS);
	expect_ok(bench_delete(bench, "c1", "x1"));
	expect(bench_state(bench, "c1", "x1"), TTRPC_NOT_FOUND, "x1");
	turn(bench->loop, 30);
	assert_string_equal(strbuf_text(&bench->events), "create start exec-added");
}

static void execs_exit_before_their_container_is_deleted(void **state)
{
	struct bench *bench = *state;

	expect_ok(bench_create(bench, "c1"));
	expect_ok(bench_start(bench, "c1", ""));
	expect_ok(bench_exec(bench, "c1", "x1", PROCESS_JSON));
	expect_ok(bench_start(bench, "c1", "x1"));
	bench_exit(bench, "", 0);
	expect_ok(bench_wait(bench, "c1", ""));
	expect_ok(bench_delete(bench, "c1", ""));
	await(bench->loop, strstr(strbuf_text(&bench->events), "delete") &&
				   strstr(strbuf_text(&bench->events), "exit(x1)"));
	assert_string_equal(strbuf_text(&bench->events),
			    "create start exec-added exec-started exit(c1) exit(x1) delete");
}

static void exec_that_starts_too_late_is_killed(void **state)
{
	struct bench *bench = *state;
	Containerd__Task__V2__StartRequest request = CONTAINERD__TASK__V2__START_REQUEST__INIT;
	static struct answer answer;

	expect_ok(bench_create(bench, "c1"));
	expect_ok(bench_start(bench, "c1", ""));
	expect_ok(bench_exec(bench, "c1", "x1", PROCESS_JSON));
	bench->agent.hold_method = "ExecProcess";
	request.id = (char *)"c1";
	request.exec_id = (char *)"x1";
	bench_send(bench, "Start", &request.base, 0, &answer);
	await(bench->loop, bench->agent.held);
	bench_exit(bench, "", 0);
	expect_ok(bench_wait(bench, "c1", ""));
	expect_ok(bench_delete(bench, "c1", ""));
	fake_reply_empty(steal_ptr(bench->agent.held));
	await(bench->loop, answer.done);
	expect(answer, TTRPC_CANCELLED, "ended before it ran");
	await(bench->loop, bench->agent.last_signal == SIGKILL);
	await(bench->loop, fake_agent_exit(&bench->agent, "x1", 137));
	turn(bench->loop, 30);
	assert_string_equal(strbuf_text(&bench->events), "create start exec-added exit(c1) delete");
}

/* ---- execs whose output somebody else has open */

/* Of one that has ended; stdout may be "". */
static void run_and_delete_exec(struct bench *bench, const char *exec_id, const char *out)
{
	Containerd__Task__V2__ExecProcessRequest request =
		CONTAINERD__TASK__V2__EXEC_PROCESS_REQUEST__INIT;
	Google__Protobuf__Any spec = GOOGLE__PROTOBUF__ANY__INIT;

	spec.value.data = (uint8_t *)PROCESS_JSON;
	spec.value.len = strlen(PROCESS_JSON);
	request.id = (char *)"c1";
	request.exec_id = (char *)exec_id;
	request.stdout = (char *)out;
	request.spec = &spec;
	expect_ok(bench_call(bench, "Exec", &request.base));
	expect_ok(bench_start(bench, "c1", exec_id));
	await(bench->loop, fake_agent_exit(&bench->agent, exec_id, 0));
	expect_ok(bench_wait(bench, "c1", exec_id));
	expect_ok(bench_delete(bench, "c1", exec_id));
}

static void output_of_a_deleted_exec_is_closed(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *fifo = path_join(bench->dir, "fifo");

	assert_int_equal(mkfifo(fifo, 0600), 0);
	expect_ok(bench_create(bench, "c1"));
	expect_ok(bench_start(bench, "c1", ""));
	run_and_delete_exec(bench, "x1", fifo); /* nobody has it open: it has ended */
	assert_null(strstr(strbuf_text(&bench->agent.calls), "CloseOutput"));
	bench->agent.execs_stay_open = true;
	run_and_delete_exec(bench, "x2", fifo);
	await(bench->loop, strstr(strbuf_text(&bench->agent.calls), "CloseOutput"));
	assert_int_equal(bench->agent.drop_stdout, 0);
	assert_int_equal(bench->agent.drop_stderr, 1);
	assert_int_equal(bench->agent.exec_out.nheld, 0);
}

static void output_that_nobody_wanted_is_dropped(void **state)
{
	struct bench *bench = *state;

	expect_ok(bench_create(bench, "c1"));
	expect_ok(bench_start(bench, "c1", ""));
	bench->agent.execs_stay_open = true;
	run_and_delete_exec(bench, "x1", "");
	await(bench->loop, strstr(strbuf_text(&bench->agent.calls), "CloseOutput"));
	assert_int_equal(bench->agent.drop_stdout, 1);
}

static void an_older_agent_cannot_close_output(void **state)
{
	struct bench *bench = *state;

	expect_ok(bench_create(bench, "c1"));
	expect_ok(bench_start(bench, "c1", ""));
	bench->agent.execs_stay_open = true;
	bench->agent.fail_method = "CloseOutput";
	bench->agent.fail_code = TTRPC_UNIMPLEMENTED;
	run_and_delete_exec(bench, "x1", "");
	await(bench->loop, strstr(strbuf_text(&bench->agent.calls), "CloseOutput"));
	run_and_delete_exec(bench, "x1", "");
	bench_exit(bench, "", 0);
	expect_ok(bench_wait(bench, "c1", ""));
	expect_ok(bench_delete(bench, "c1", ""));
}

/* ---- many of them */

static void count_answer(const struct ttrpc_reply *reply _unused_, void *userdata)
{
	unsigned *answers = userdata;

	++*answers;
}

/* As of some hundred execs, each of which is waited for, and its streams read. */
static void many_calls_are_under_way_at_once(void **state)
{
	struct bench *bench = *state;
	static unsigned answers;

	expect_ok(bench_create(bench, "c1"));
	for (unsigned i = 0; i < WAITS_MAX - 1; i++) {
		Grpc__WaitProcessRequest request = GRPC__WAIT_PROCESS_REQUEST__INIT;
		request.container_id = request.exec_id = (char *)"x1";
		agent_call(sandbox_agent(shim_sandbox(bench->shim)), "WaitProcess", &request.base,
			   0, count_answer, &answers);
	}
	await(bench->loop, bench->agent.waits[WAITS_MAX - 1].call);
	assert_int_equal(answers, 0);
	expect_ok(bench_start(bench, "c1", ""));
}

static struct answer resize(struct bench *bench, const char *exec_id)
{
	Containerd__Task__V2__ResizePtyRequest request =
		CONTAINERD__TASK__V2__RESIZE_PTY_REQUEST__INIT;

	request.id = (char *)"c1";
	request.exec_id = (char *)exec_id;
	request.width = 80;
	request.height = 25;
	return bench_call(bench, "ResizePty", &request.base);
}

static void without_a_terminal_there_is_nothing_to_resize(void **state)
{
	struct bench *bench = *state;

	expect_ok(bench_create(bench, "c1"));
	expect_ok(resize(bench, ""));
	expect_ok(bench_start(bench, "c1", ""));
	expect_ok(resize(bench, ""));
	expect_ok(bench_exec(bench, "c1", "x1", PROCESS_JSON));
	expect_ok(resize(bench, "x1"));
	assert_null(strstr(strbuf_text(&bench->agent.calls), "TtyWinResize"));
	bench_exit(bench, "", 0);
	expect_ok(bench_wait(bench, "c1", ""));
	expect(resize(bench, ""), TTRPC_FAILED_PRECONDITION, "the process has ended");
}

#define T(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(failed_start_stops_the_exec_without_events),
		T(execs_exit_before_their_container_is_deleted),
		T(exec_that_starts_too_late_is_killed),
		T(output_of_a_deleted_exec_is_closed),
		T(output_that_nobody_wanted_is_dropped),
		T(an_older_agent_cannot_close_output),
		T(many_calls_are_under_way_at_once),
		T(without_a_terminal_there_is_nothing_to_resize),
	};

	log_set_level(LOG_LEVEL_ERROR);
	if (!bench_private_mounts())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
