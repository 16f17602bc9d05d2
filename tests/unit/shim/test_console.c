/* The debug console, between a scripted factory, agent and containerd, and an operator. */
#include "shim_bench.h"

#include "proto/operator.pb-c.h"

#define EXEC_ID "console-1"

struct told {
	bool done;
	enum ttrpc_code code;
	char message[256];
	char exec_id[32];
	uint32_t exit_status;
};

/* An operator's own connection. */
static struct ttrpc_client *connect_operator(struct bench *bench)
{
	_cleanup_free_ char *path = path_join(bench->dir, "shim.sock");
	int fd;

	assert_int_equal(socket_connect(path, &fd, NULL), 0);
	return ttrpc_client_new(bench->loop, fd, NULL);
}

static void on_told(const struct ttrpc_reply *reply, void *userdata)
{
	struct told *told = userdata;
	const ProtobufCMessage *response = reply->response;

	told->done = true;
	told->code = reply->code;
	snprintf(told->message, sizeof(told->message), "%s", reply->message);
	if (response && response->descriptor == &kiln__shim__v1__exec_response__descriptor)
		snprintf(told->exec_id, sizeof(told->exec_id), "%s",
			 ((const Kiln__Shim__V1__ExecResponse *)response)->exec_id);
	if (response && response->descriptor == &kiln__shim__v1__wait_exec_response__descriptor)
		told->exit_status =
			((const Kiln__Shim__V1__WaitExecResponse *)response)->exit_status;
}

static void send_to(struct ttrpc_client *client, const char *method,
		    const ProtobufCMessage *request, struct told *told)
{
	*told = (struct told){};
	(void)ttrpc_client_call(client, &(struct ttrpc_call_options){
						.service = &kiln__shim__v1__operator__descriptor,
						.method = method,
						.request = request,
						.on_reply = on_told,
						.userdata = told,
					});
}

static void send_exec(struct ttrpc_client *client, struct told *told)
{
	Kiln__Shim__V1__ExecRequest request = KILN__SHIM__V1__EXEC_REQUEST__INIT;
	char *args[] = { (char *)"ls", (char *)"-l" };

	request.args = args;
	request.n_args = ARRAY_SIZE(args);
	request.terminal = true;
	request.width = 70;
	request.height = 20;
	send_to(client, "Exec", &request.base, told);
}

static void send_wait(struct ttrpc_client *client, struct told *told)
{
	Kiln__Shim__V1__WaitExecRequest request = KILN__SHIM__V1__WAIT_EXEC_REQUEST__INIT;

	request.exec_id = (char *)EXEC_ID;
	send_to(client, "WaitExec", &request.base, told);
}

/* Started; what it was told of it is on the way back still. */
static void must_exec(struct bench *bench, struct ttrpc_client *client)
{
	struct told told;

	expect_ok(bench_create(bench, "c1"));
	send_exec(client, &told);
	await(bench->loop, told.done);
	assert_int_equal(told.code, TTRPC_OK);
	assert_string_equal(told.exec_id, EXEC_ID);
}

static void a_program_runs_and_ends(void **state)
{
	struct bench *bench = *state;
	struct ttrpc_client *client = connect_operator(bench);
	Kiln__Shim__V1__ResizeExecRequest resize = KILN__SHIM__V1__RESIZE_EXEC_REQUEST__INIT;
	Kiln__Shim__V1__CloseExecStdinRequest input =
		KILN__SHIM__V1__CLOSE_EXEC_STDIN_REQUEST__INIT;
	struct told told;

	must_exec(bench, client);
	resize.exec_id = input.exec_id = (char *)EXEC_ID;
	send_to(client, "ResizeExec", &resize.base, &told);
	await(bench->loop, told.done);
	assert_int_equal(told.code, TTRPC_OK);
	send_to(client, "CloseExecStdin", &input.base, &told);
	await(bench->loop, told.done);
	assert_int_equal(told.code, TTRPC_OK);
	assert_non_null(strstr(strbuf_text(&bench->agent.calls), "ExecProcess"));
	assert_non_null(strstr(strbuf_text(&bench->agent.calls), "TtyWinResize"));
	send_wait(client, &told);
	await(bench->loop, fake_agent_exit(&bench->agent, EXEC_ID, 7));
	await(bench->loop, told.done);
	assert_int_equal(told.code, TTRPC_OK);
	assert_int_equal(told.exit_status, 7);
	/* Told once. containerd was told nothing. */
	send_wait(client, &told);
	await(bench->loop, told.done);
	assert_int_equal(told.code, TTRPC_NOT_FOUND);
	assert_string_equal(strbuf_text(&bench->events), "create");
	ttrpc_client_free(client);
}

static void a_refusal_is_the_guest_s(void **state)
{
	struct bench *bench = *state;
	struct ttrpc_client *client = connect_operator(bench);
	struct told told;

	send_exec(client, &told);
	await(bench->loop, told.done);
	assert_int_equal(told.code, TTRPC_UNAVAILABLE);
	expect_ok(bench_create(bench, "c1"));
	bench->agent.fail_method = "ExecProcess";
	bench->agent.fail_code = TTRPC_PERMISSION_DENIED;
	send_exec(client, &told);
	await(bench->loop, told.done);
	assert_int_equal(told.code, TTRPC_PERMISSION_DENIED);
	assert_string_equal(told.message, "scripted failure of ExecProcess");
	ttrpc_client_free(client);
}

static void it_is_its_connection_s(void **state)
{
	struct bench *bench = *state;
	struct ttrpc_client *client = connect_operator(bench), *other = connect_operator(bench);
	struct told told, waited;

	must_exec(bench, client);
	send_wait(client, &waited);
	send_wait(client, &told);
	await(bench->loop, told.done);
	assert_int_equal(told.code, TTRPC_ALREADY_EXISTS);
	send_wait(other, &told);
	await(bench->loop, told.done);
	assert_int_equal(told.code, TTRPC_NOT_FOUND);
	ttrpc_client_free(other);
	ttrpc_client_free(client);
	assert_int_equal(waited.code, TTRPC_CANCELLED);
	await(bench->loop, bench->agent.last_signal == SIGKILL);
	assert_true(fake_agent_exit(&bench->agent, EXEC_ID, 137));
}

/* Its answer finds nobody; what was killed before it was there is killed once more. */
static void a_caller_leaves_before_it_runs(void **state)
{
	struct bench *bench = *state;
	struct ttrpc_client *client = connect_operator(bench);
	struct told told;

	expect_ok(bench_create(bench, "c1"));
	bench->agent.hold_method = "ExecProcess";
	send_exec(client, &told);
	await(bench->loop, bench->agent.held);
	ttrpc_client_free(client);
	await(bench->loop, bench->agent.last_signal == SIGKILL);
	bench->agent.last_signal = 0;
	fake_reply_empty(steal_ptr(bench->agent.held));
	await(bench->loop, bench->agent.last_signal == SIGKILL);
	await(bench->loop, fake_agent_exit(&bench->agent, EXEC_ID, 137));
}

static void the_shim_ends_while_it_starts(void **state)
{
	struct bench *bench = *state;
	struct ttrpc_client *client = connect_operator(bench);
	struct told told;

	expect_ok(bench_create(bench, "c1"));
	bench->agent.hold_method = "ExecProcess";
	send_exec(client, &told);
	await(bench->loop, bench->agent.held);
	shim_free(steal_ptr(bench->shim));
	await(bench->loop, told.done);
	assert_int_not_equal(told.code, TTRPC_OK);
	fake_reply_empty(steal_ptr(bench->agent.held));
	ttrpc_client_free(client);
}

static void a_machine_that_is_lost_ends_it(void **state)
{
	struct bench *bench = *state;
	struct ttrpc_client *client = connect_operator(bench);
	struct told told;

	must_exec(bench, client);
	send_wait(client, &told);
	ttrpc_conn_close(bench->agent.conn);
	await(bench->loop, told.done);
	assert_int_equal(told.code, TTRPC_OK);
	assert_int_equal(told.exit_status, PROCESS_LOST_STATUS);
	ttrpc_client_free(client);
}

#define T(test) cmocka_unit_test_setup_teardown(test, bench_setup, bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_program_runs_and_ends),       T(a_refusal_is_the_guest_s),
		T(it_is_its_connection_s),        T(a_caller_leaves_before_it_runs),
		T(the_shim_ends_while_it_starts), T(a_machine_that_is_lost_ends_it),
	};

	log_set_level(LOG_LEVEL_ERROR);
	if (!bench_private_mounts())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
