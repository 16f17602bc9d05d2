/* The task service between a scripted factory, agent and containerd. */
#include "shim_bench.h"

#include "shim/pod.h"
#include "shim/process.h"
#include "shim/spec.h"

static void life_of_a_container_in_its_order(void **state)
{
	struct bench *bench = *state;
	struct answer answer;

	answer = bench_create(bench, "c1");
	expect_ok(answer);
	assert_int_not_equal(answer.pid, bench->vmm); /* of the new network namespace */
	assert_true(is_there(answer.pid));
	assert_true(bench_in_bundle(bench, "c1", "kiln.json"));
	assert_true(bench_is_shared(bench, "c1"));
	assert_string_equal(bench->agent.spec->root->path, "/run/kata-containers/c1/rootfs");
	expect_ok(bench_start(bench, "c1", ""));
	expect_ok(bench_exec(bench, "c1", "x1", PROCESS_JSON));
	expect_ok(bench_start(bench, "c1", "x1"));
	bench_exit(bench, "x1", 3);
	answer = bench_wait(bench, "c1", "x1");
	assert_int_equal(answer.exit_status, 3);
	expect_ok(bench_delete(bench, "c1", "x1"));
	bench_exit(bench, "", 7);
	answer = bench_wait(bench, "c1", "");
	assert_int_equal(answer.exit_status, 7);
	answer = bench_delete(bench, "c1", "");
	assert_int_equal(answer.exit_status, 7);
	assert_false(bench_is_shared(bench, "c1"));
	await(bench->loop, strstr(strbuf_text(&bench->events), "delete"));
	assert_string_equal(strbuf_text(&bench->events),
			    "create start exec-added exec-started exit(x1) exit(c1) delete");
	assert_string_equal(strbuf_text(&bench->agent.calls),
			    "SetGuestDateTime CreateSandbox CreateContainer WaitProcess "
			    "StartContainer ExecProcess WaitProcess RemoveContainer");
}

static void exit_before_the_start_s_answer_is_told_after_it(void **state)
{
	struct bench *bench = *state;
	Containerd__Task__V2__StartRequest request = CONTAINERD__TASK__V2__START_REQUEST__INIT;
	static struct answer answer;

	expect_ok(bench_create(bench, "c1"));
	bench->agent.hold_method = "StartContainer";
	request.id = (char *)"c1";
	bench_send(bench, "Start", &request.base, 0, &answer);
	await(bench->loop, bench->agent.held);
	bench_exit(bench, "", 0);
	turn(bench->loop, 30);
	assert_string_equal(strbuf_text(&bench->events), "create");
	fake_reply_empty(steal_ptr(bench->agent.held));
	await(bench->loop, answer.done);
	expect_ok(answer);
	expect_ok(bench_wait(bench, "c1", ""));
	await(bench->loop, strstr(strbuf_text(&bench->events), "exit"));
	assert_string_equal(strbuf_text(&bench->events), "create start exit(c1)");
}

static void wrong_calls_get_their_codes(void **state)
{
	struct bench *bench = *state;

	expect(bench_start(bench, "c1", ""), TTRPC_NOT_FOUND, "container c1: not found");
	expect_ok(bench_create(bench, "c1"));
	expect(bench_create(bench, "c1"), TTRPC_ALREADY_EXISTS, "already exists");
	expect(bench_exec(bench, "c1", "x1", PROCESS_JSON), TTRPC_FAILED_PRECONDITION, "created");
	expect_ok(bench_start(bench, "c1", ""));
	expect(bench_start(bench, "c1", ""), TTRPC_FAILED_PRECONDITION, "running");
	expect(bench_delete(bench, "c1", ""), TTRPC_FAILED_PRECONDITION, "not stopped");
	expect(bench_exec(bench, "c1", "x1", "{"), TTRPC_INVALID_ARGUMENT, "process");
	expect(bench_exec(bench, "c1", "../x", PROCESS_JSON), TTRPC_INVALID_ARGUMENT, "exec id");
	expect_ok(bench_exec(bench, "c1", "x1", PROCESS_JSON));
	expect(bench_exec(bench, "c1", "x1", PROCESS_JSON), TTRPC_ALREADY_EXISTS, "x1");
	expect(bench_kill(bench, "c1", "x1", SIGTERM), TTRPC_FAILED_PRECONDITION, "not created");
	expect(bench_kill(bench, "c1", "", 1000), TTRPC_INVALID_ARGUMENT, "signal 1000");
	expect(bench_kill(bench, "c1", "x2", SIGTERM), TTRPC_NOT_FOUND, "x2");
	expect(bench_state(bench, "c2", ""), TTRPC_NOT_FOUND, "c2");
	bench_exit(bench, "", 0);
	expect_ok(bench_wait(bench, "c1", ""));
	expect(bench_kill(bench, "c1", "", SIGKILL), TTRPC_NOT_FOUND, "process already finished");
}

static void expect_all_taken_back(struct bench *bench)
{
	await(bench->loop, bench->releases == 1 && !bench_in_bundle(bench, "c1", "kiln.json"));
	assert_false(bench_is_shared(bench, "c1"));
	expect(bench_state(bench, "c1", ""), TTRPC_NOT_FOUND, "c1");
	assert_string_equal(strbuf_text(&bench->events), "");
}

static void container_the_agent_refuses_leaves_nothing(void **state)
{
	struct bench *bench = *state;

	bench->agent.fail_method = "CreateContainer";
	bench->agent.fail_code = TTRPC_INVALID_ARGUMENT;
	expect(bench_create(bench, "c1"), TTRPC_INVALID_ARGUMENT,
	       "OCI runtime create failed: scripted failure of CreateContainer");
	expect_all_taken_back(bench);
}

static void sandbox_the_agent_refuses_says_why(void **state)
{
	struct bench *bench = *state;

	bench->agent.fail_method = "CreateSandbox";
	bench->agent.fail_code = TTRPC_INTERNAL;
	expect(bench_create(bench, "c1"), TTRPC_INTERNAL, "scripted failure of CreateSandbox");
	expect_all_taken_back(bench);
}

static void missing_rootfs_leaves_nothing(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *rootfs = path_join(bench->dir, "c1/rootfs");

	assert_int_equal(rmdir(rootfs), 0);
	expect(bench_create(bench, "c1"), TTRPC_INVALID_ARGUMENT, rootfs);
	expect_all_taken_back(bench);
}

static void bad_bundle_asks_no_factory(void **state)
{
	struct bench *bench = *state;

	expect(bench_create(bench, "c9"), TTRPC_INVALID_ARGUMENT, "has no config.json");
	bench_make_bundle(bench, "c9", "{ this is not JSON");
	expect(bench_create(bench, "c9"), TTRPC_INVALID_ARGUMENT, "config.json is not JSON");
	assert_int_equal(bench->claims, 0);
}

/* ---- updates, in a machine of 2 vCPUs and 256 MiB */

static void expect_no_room(struct bench *bench, const char *json, const char *sentence)
{
	expect(bench_update(bench, "c1", json), TTRPC_FAILED_PRECONDITION, sentence);
}

static void updates_go_as_far_as_the_machine(void **state)
{
	struct bench *bench = *state;

	expect_ok(bench_create(bench, "c1"));
	expect_ok(bench_start(bench, "c1", ""));
	expect_ok(bench_update(bench, "c1", "{\"memory\":{\"limit\":268435456}}"));
	assert_non_null(strstr(strbuf_text(&bench->agent.calls), "UpdateContainer"));
	strbuf_done(&bench->agent.calls);
	expect_no_room(bench, "{\"memory\":{\"limit\":268435457}}",
		       "container c1: a memory limit of 257 MiB is wanted, and the machine has 256 "
		       "and does not grow while it runs: a new pod or container");
	expect_no_room(bench, "{\"cpu\":{\"quota\":250000}}",
		       "a limit of 2.50 processors is wanted, and the machine has 2 ");
	assert_string_equal(strbuf_text(&bench->agent.calls), "");
	expect_ok(bench_update(bench, "c1", "{\"cpu\":{\"quota\":100000,\"period\":50000}}"));
	/* By the period that it has, and by another one. */
	expect_no_room(bench, "{\"cpu\":{\"quota\":100001}}", "processors");
	expect_ok(bench_update(bench, "c1", "{\"cpu\":{\"quota\":200000,\"period\":100000}}"));
	expect_ok(bench_update(bench, "c1", "{\"pids\":{\"limit\":100},\"cpu\":{\"shares\":512}}"));
}

static void no_limit_is_what_the_machine_has(void **state)
{
	struct bench *bench = *state;

	expect_ok(bench_create(bench, "c1"));
	expect_ok(bench_start(bench, "c1", ""));
	expect_ok(bench_update(bench, "c1", "{\"memory\":{\"limit\":-1},\"cpu\":{\"quota\":-1}}"));
	expect_ok(bench_update(bench, "c1", "{\"memory\":{\"limit\":9223372036854771712}}"));
	expect_no_room(bench, "{\"memory\":{\"limit\":536870912}}", "the machine has 256 ");
	expect_ok(bench_update(bench, "c1", "{\"memory\":{\"limit\":134217728}}"));
}

/* Its limit is more than its machine has, as a container's may be whose pod says nothing. */
static void make_large_bundle(struct bench *bench)
{
	static const char spec[] = SPEC_JSON("", "", ""), limit[] = "1048576";
	const char *at = strstr(spec, limit);
	_cleanup_free_ char *text = xasprintf("%.*s%s%s", (int)(at - spec), spec, "1073741824",
					      at + strlen(limit));

	bench_make_bundle(bench, "c1", text);
}

static void a_limit_beyond_the_machine_may_stay(void **state)
{
	static const char whole[] = "{\"memory\":{\"limit\":1073741824},\"cpu\":{\"shares\":2}}";
	struct bench *bench = *state;

	make_large_bundle(bench);
	expect_ok(bench_create(bench, "c1"));
	expect_ok(bench_start(bench, "c1", ""));
	expect_ok(bench_update(bench, "c1", whole));
	expect_no_room(bench, "{\"memory\":{\"limit\":1073741825}}", "1025 MiB is wanted");
	/* What the guest has not done has not changed the limit. */
	bench->agent.fail_method = "UpdateContainer";
	bench->agent.fail_code = TTRPC_INTERNAL;
	expect(bench_update(bench, "c1", "{\"memory\":{\"limit\":536870912}}"), TTRPC_INTERNAL,
	       "scripted failure");
	bench->agent.fail_method = NULL;
	expect_ok(bench_update(bench, "c1", whole));
	expect_ok(bench_update(bench, "c1", "{\"memory\":{\"limit\":536870912}}"));
	expect_no_room(bench, whole, "1024 MiB is wanted");
	expect(bench_update(bench, "c1", "{"), TTRPC_INVALID_ARGUMENT, "the update's resources");
}

/* ---- what `start` claims before containerd asks */

static void prepare(struct bench *bench, const char *id)
{
	_cleanup_free_ char *bundle = path_join(bench->dir, id);
	struct spec *spec;

	assert_int_equal(spec_load(bundle, &spec, NULL), 0);
	shim_prepare(bench->shim, NULL, spec);
	spec_free(spec);
}

static void early_claim_serves_the_first_container(void **state)
{
	struct bench *bench = *state;

	prepare(bench, "c1");
	await(bench->loop, bench->claims == 1);
	expect_ok(bench_create(bench, "c1"));
	expect_ok(bench_start(bench, "c1", ""));
	assert_int_equal(bench->claims, 1);
	assert_int_equal(bench->releases, 0);
}

static void early_claim_of_another_kind_is_given_back(void **state)
{
	struct bench *bench = *state;

	prepare(bench, "c1");
	await(bench->loop, bench->claims == 1);
	setenv("KILN_TEMPLATE", "another", 1);
	expect_ok(bench_create(bench, "c1"));
	unsetenv("KILN_TEMPLATE");
	assert_int_equal(bench->claims, 2);
	assert_int_equal(bench->releases, 1);
	expect_ok(bench_start(bench, "c1", ""));
}

static void early_claim_is_not_answered_yet(void **state)
{
	struct bench *bench = *state;

	prepare(bench, "c1"); /* the loop has not turned since */
	setenv("KILN_TEMPLATE", "another", 1);
	expect_ok(bench_create(bench, "c1"));
	unsetenv("KILN_TEMPLATE");
	assert_int_equal(bench->claims, 2);
	assert_int_equal(bench->releases, 1);
}

static void failed_early_claim_is_tried_again(void **state)
{
	struct bench *bench = *state;

	bench->refuse_claim = true;
	prepare(bench, "c1");
	await(bench->loop, bench->claims == 1);
	turn(bench->loop, 20);
	bench->refuse_claim = false;
	expect_ok(bench_create(bench, "c1"));
	assert_int_equal(bench->claims, 2);
}

static void early_claim_goes_when_nobody_comes(void **state)
{
	struct bench *bench = *state;

	prepare(bench, "c1");
	await(bench->loop, bench->claims == 1);
	ttrpc_client_free(steal_ptr(bench->client));
	turn(bench->loop, DEADLINE_MS); /* until the shim, forgotten, stops the loop */
	assert_int_equal(bench->releases, 1);
}

static void refused_claim_is_unavailable(void **state)
{
	struct bench *bench = *state;

	bench->refuse_claim = true;
	expect(bench_create(bench, "c1"), TTRPC_UNAVAILABLE, "no such template");
	bench->refuse_claim = false;
	expect_ok(bench_create(bench, "c1"));
	assert_int_equal(bench->claims, 2);
}

static void cancelled_creation_is_taken_back(void **state)
{
	struct bench *bench = *state;
	static struct answer answer;

	bench->agent.hold_method = "CreateContainer";
	bench_send_create(bench, "c1", 100, &answer);
	await(bench->loop, answer.done);
	assert_int_equal(answer.code, TTRPC_DEADLINE_EXCEEDED);
	await(bench->loop, bench->releases == 1);
	expect_all_taken_back(bench);
}

static void delete_takes_back_a_creation_under_way(void **state)
{
	struct bench *bench = *state;
	static struct answer answer;

	bench->agent.hold_method = "CreateContainer";
	bench_send_create(bench, "c1", 0, &answer);
	await(bench->loop, bench->agent.held);
	expect(bench_delete(bench, "c1", ""), TTRPC_NOT_FOUND, "c1");
	await(bench->loop, answer.done);
	assert_int_equal(answer.code, TTRPC_CANCELLED);
	expect_all_taken_back(bench);
}

/* The claim's answer is awaited still, and its machine is wanted by nobody. */
static void creation_after_one_that_is_taken_back_is_answered(void **state)
{
	struct bench *bench = *state;
	Containerd__Task__V2__DeleteRequest request = CONTAINERD__TASK__V2__DELETE_REQUEST__INIT;
	static struct answer first, deleted, second;

	bench_make_bundle(bench, "c2", SPEC_JSON("", "", ""));
	bench_send_create(bench, "c1", 0, &first);
	request.id = (char *)"c1";
	bench_send(bench, "Delete", &request.base, 0, &deleted);
	bench_send_create(bench, "c2", 0, &second);
	await(bench->loop, first.done && deleted.done && second.done);
	expect(first, TTRPC_CANCELLED, "creation was cancelled");
	expect(second, TTRPC_CANCELLED, "the sandbox is being released");
	assert_int_equal(bench->claims, 1);
	assert_int_equal(bench->releases, 1);
	expect_ok(bench_create(bench, "c2"));
}

static void forgotten_shim_ends_by_itself(void **state)
{
	struct bench *bench = *state;
	uint64_t start = clock_monotonic_ms();

	bench->agent.die_by_signal = true;
	expect_ok(bench_create(bench, "c1"));
	expect_ok(bench_delete(bench, "c1", ""));
	assert_int_equal(bench->releases, 0);
	ttrpc_client_free(steal_ptr(bench->client));
	turn(bench->loop, DEADLINE_MS); /* until the shim stops the loop */
	assert_true(clock_monotonic_ms() - start < DEADLINE_MS / 2);
	assert_int_equal(bench->releases, 1);
	assert_false(bench_in_bundle(bench, "c1", "kiln.json"));
}

static void kill_before_start_ends_the_container(void **state)
{
	struct bench *bench = *state;
	struct answer answer;

	bench->agent.die_by_signal = true;
	expect_ok(bench_create(bench, "c1"));
	expect_ok(bench_kill(bench, "c1", "", SIGKILL));
	answer = bench_wait(bench, "c1", "");
	assert_int_equal(answer.exit_status, 137);
	expect(bench_start(bench, "c1", ""), TTRPC_FAILED_PRECONDITION, "stopped");
	expect_ok(bench_delete(bench, "c1", ""));
	await(bench->loop, strstr(strbuf_text(&bench->events), "delete"));
	assert_string_equal(strbuf_text(&bench->events), "create exit(c1) delete");
}

static void what_asks_to_end_before_the_start_ends_the_container(void **state)
{
	struct bench *bench = *state;

	bench->agent.die_by_signal = true;
	expect_ok(bench_create(bench, "c1"));
	expect_ok(bench_kill(bench, "c1", "", SIGTERM));
	assert_int_equal(bench_wait(bench, "c1", "").exit_status, 137);
}

static void delete_of_a_created_container_kills_it(void **state)
{
	struct bench *bench = *state;

	bench->agent.die_by_signal = true;
	expect_ok(bench_create(bench, "c1"));
	expect_ok(bench_delete(bench, "c1", ""));
	assert_int_equal(bench->agent.last_signal, SIGKILL);
	assert_false(bench_is_shared(bench, "c1"));
}

static void deleted_twice_at_once_is_deleted_once(void **state)
{
	struct bench *bench = *state;
	Containerd__Task__V2__DeleteRequest request = CONTAINERD__TASK__V2__DELETE_REQUEST__INIT;
	Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
	static struct answer answer;

	bench->agent.die_by_signal = true;
	expect_ok(bench_create(bench, "c1"));
	bench->agent.hold_method = "RemoveContainer";
	request.id = (char *)"c1";
	bench_send(bench, "Delete", &request.base, 0, &answer);
	await(bench->loop, bench->agent.held);
	expect(bench_delete(bench, "c1", ""), TTRPC_FAILED_PRECONDITION, "c1 is being deleted");
	bench->agent.hold_method = NULL;
	ttrpc_call_reply(steal_ptr(bench->agent.held), &empty.base);
	await(bench->loop, answer.done);
	expect_ok(answer);
	assert_false(bench_is_shared(bench, "c1"));
}

static void lost_machine_ends_all_tasks(void **state)
{
	struct bench *bench = *state;
	Containerd__Task__V2__WaitRequest request = CONTAINERD__TASK__V2__WAIT_REQUEST__INIT;
	static struct answer answer;

	expect_ok(bench_create(bench, "c1"));
	expect_ok(bench_start(bench, "c1", ""));
	expect_ok(bench_exec(bench, "c1", "x1", PROCESS_JSON));
	expect_ok(bench_start(bench, "c1", "x1"));
	request.id = (char *)"c1";
	bench_send(bench, "Wait", &request.base, 0, &answer);
	turn(bench->loop, 10);
	kill(bench->vmm, SIGKILL);
	await(bench->loop, answer.done);
	assert_int_equal(answer.exit_status, PROCESS_LOST_STATUS);
	await(bench->loop, strstr(strbuf_text(&bench->events), "exit(x1)") &&
				   strstr(strbuf_text(&bench->events), "exit(c1)"));
	assert_int_equal(bench->last_exit_status, PROCESS_LOST_STATUS);
	await(bench->loop, bench->releases == 1);
	expect_ok(bench_delete(bench, "c1", ""));
	assert_false(bench_is_shared(bench, "c1"));
}

/* With two layers, of which a file cannot be shown without an image of them. */
static void send_create_of_layers(struct bench *bench, const char *lower, struct answer *answer)
{
	Containerd__Task__V2__CreateTaskRequest request =
		CONTAINERD__TASK__V2__CREATE_TASK_REQUEST__INIT;
	Containerd__Types__Mount mount = CONTAINERD__TYPES__MOUNT__INIT, *mounts[] = { &mount };
	_cleanup_free_ char *bundle = path_join(bench->dir, "c1");
	_cleanup_free_ char *file = path_join(lower, "file");
	_cleanup_free_ char *layers = xasprintf("lowerdir=%s:%s", lower, lower);

	assert_int_equal(dir_make(lower, 0755, NULL), 0);
	assert_int_equal(file_write_atomic(file, "", 0, 0644, NULL), 0);
	assert_int_equal(chown(file, 70000, 70000), 0);
	mount.type = mount.source = (char *)"overlay";
	mount.options = &layers;
	mount.n_options = 1;
	request.id = (char *)"c1";
	request.bundle = bundle;
	request.rootfs = mounts;
	request.n_rootfs = ARRAY_SIZE(mounts);
	bench_send(bench, "Create", &request.base, 0, answer);
}

static void lost_machine_ends_a_creation_under_way(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *lower = path_join(bench->dir, "lower");
	Kiln__Factory__V1__PrepareImageResponse made =
		KILN__FACTORY__V1__PREPARE_IMAGE_RESPONSE__INIT;
	static struct answer answer;

	bench->image_cache = bench->dir;
	send_create_of_layers(bench, lower, &answer);
	await(bench->loop, bench->image_wait);
	kill(bench->vmm, SIGKILL);
	await(bench->loop, answer.done);
	expect(answer, TTRPC_UNAVAILABLE, "machine ended during the creation");
	await(bench->loop, bench->releases == 1);
	ttrpc_call_reply(steal_ptr(bench->image_wait), &made.base); /* nobody needs it any more */
	turn(bench->loop, 50);
	expect_all_taken_back(bench);
}

static void lost_agent_ends_all_tasks_too(void **state)
{
	struct bench *bench = *state;
	struct answer answer;

	expect_ok(bench_create(bench, "c1"));
	expect_ok(bench_start(bench, "c1", ""));
	ttrpc_conn_close(bench->agent.conn);
	answer = bench_wait(bench, "c1", "");
	assert_int_equal(answer.exit_status, PROCESS_LOST_STATUS);
	await(bench->loop, bench->releases == 1);
}

static void shutdown_waits_for_the_last_container(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *socket = path_join(bench->dir, "shim.sock");
	uint64_t start;

	bench_make_bundle(bench, "c2", SPEC_JSON("", "", ""));
	expect_ok(bench_create(bench, "c1"));
	expect_ok(bench_create(bench, "c2"));
	assert_int_equal(bench->claims, 1);
	expect_ok(bench_shutdown(bench));
	turn(bench->loop, 20);
	assert_int_equal(bench->releases, 0);
	bench->agent.die_by_signal = true;
	expect_ok(bench_delete(bench, "c1", ""));
	assert_false(bench_in_bundle(bench, "c1", "kiln.json"));
	expect_ok(bench_delete(bench, "c2", ""));
	assert_true(bench_in_bundle(bench, "c2", "kiln.json"));
	expect_ok(bench_shutdown(bench));
	start = clock_monotonic_ms();
	ttrpc_client_free(steal_ptr(bench->client));
	turn(bench->loop, DEADLINE_MS); /* until the shim stops the loop */
	assert_true(clock_monotonic_ms() - start < DEADLINE_MS / 2);
	assert_int_equal(bench->releases, 1);
	assert_false(bench_in_bundle(bench, "c2", "kiln.json"));
	assert_false(path_exists(socket));
	assert_string_equal(strbuf_text(&bench->events),
			    "create create exit(c1) delete exit(c2) delete");
}

static void shutdown_with_now_waits_for_nobody(void **state)
{
	struct bench *bench = *state;
	Containerd__Task__V2__ShutdownRequest request =
		CONTAINERD__TASK__V2__SHUTDOWN_REQUEST__INIT;
	uint64_t start = clock_monotonic_ms();

	expect_ok(bench_create(bench, "c1"));
	expect_ok(bench_start(bench, "c1", ""));
	request.id = (char *)"c1";
	request.now = true;
	expect_ok(bench_call(bench, "Shutdown", &request.base));
	ttrpc_client_free(steal_ptr(bench->client));
	turn(bench->loop, DEADLINE_MS); /* until the shim stops the loop */
	assert_true(clock_monotonic_ms() - start < DEADLINE_MS / 2);
	assert_int_equal(bench->releases, 1);
	assert_int_equal(bench->last_exit_status, PROCESS_KILLED_STATUS);
}

static void client_that_leaves_takes_nothing_with_it(void **state)
{
	struct bench *bench = *state;
	Containerd__Task__V2__WaitRequest request = CONTAINERD__TASK__V2__WAIT_REQUEST__INIT;
	_cleanup_free_ char *path = path_join(bench->dir, "shim.sock");
	static struct answer answer;
	int fd;

	expect_ok(bench_create(bench, "c1"));
	expect_ok(bench_start(bench, "c1", ""));
	request.id = (char *)"c1";
	bench_send(bench, "Wait", &request.base, 0, &answer);
	turn(bench->loop, 10);
	ttrpc_client_free(bench->client);
	turn(bench->loop, 10);
	assert_int_equal(socket_connect(path, &fd, NULL), 0);
	bench->client = ttrpc_client_new(bench->loop, fd, &(struct ttrpc_client_options){});
	bench_exit(bench, "", 4);
	answer = bench_wait(bench, "c1", "");
	assert_int_equal(answer.exit_status, 4);
}

static void a_shim_that_is_asked_nothing_ends(void **state)
{
	struct bench *bench = *state;
	uint64_t start = clock_monotonic_ms();

	prepare(bench, "c1");
	turn(bench->loop, DEADLINE_MS); /* containerd stays connected */
	assert_true(clock_monotonic_ms() - start < DEADLINE_MS / 2);
	assert_int_equal(bench->releases, 1);
}

static void state_tables_are_whole(void **state _unused_)
{
	for (enum process_state s = PROCESS_CREATED; s <= PROCESS_STOPPED; s++) {
		assert_int_equal(process_state_from_string(process_state_to_string(s)), s);
		assert_int_not_equal(process_state_status(s),
				     CONTAINERD__V1__TYPES__STATUS__UNKNOWN);
	}
	for (enum container_state s = CONTAINER_CREATING; s <= CONTAINER_GONE; s++)
		assert_int_equal(container_state_from_string(container_state_to_string(s)), s);
	for (enum pod_state s = POD_NONE; s <= POD_ENDED; s++)
		assert_int_equal(pod_state_from_string(pod_state_to_string(s)), s);
	for (enum sandbox_state s = SANDBOX_NONE; s <= SANDBOX_RELEASING; s++)
		assert_int_equal(sandbox_state_from_string(sandbox_state_to_string(s)), s);
}

#define T(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(life_of_a_container_in_its_order),
		T(exit_before_the_start_s_answer_is_told_after_it),
		T(wrong_calls_get_their_codes),
		T(container_the_agent_refuses_leaves_nothing),
		T(sandbox_the_agent_refuses_says_why),
		T(missing_rootfs_leaves_nothing),
		T(bad_bundle_asks_no_factory),
		T(updates_go_as_far_as_the_machine),
		T(no_limit_is_what_the_machine_has),
		T(a_limit_beyond_the_machine_may_stay),
		T(early_claim_serves_the_first_container),
		T(early_claim_of_another_kind_is_given_back),
		T(early_claim_is_not_answered_yet),
		T(failed_early_claim_is_tried_again),
		T(early_claim_goes_when_nobody_comes),
		T(refused_claim_is_unavailable),
		T(cancelled_creation_is_taken_back),
		T(delete_takes_back_a_creation_under_way),
		T(creation_after_one_that_is_taken_back_is_answered),
		T(forgotten_shim_ends_by_itself),
		T(kill_before_start_ends_the_container),
		T(what_asks_to_end_before_the_start_ends_the_container),
		T(delete_of_a_created_container_kills_it),
		T(deleted_twice_at_once_is_deleted_once),
		T(lost_machine_ends_all_tasks),
		T(lost_machine_ends_a_creation_under_way),
		T(lost_agent_ends_all_tasks_too),
		T(shutdown_waits_for_the_last_container),
		T(shutdown_with_now_waits_for_nobody),
		T(client_that_leaves_takes_nothing_with_it),
		T(a_shim_that_is_asked_nothing_ends),
		cmocka_unit_test(state_tables_are_whole),
	};

	log_set_level(LOG_LEVEL_ERROR);
	if (!bench_private_mounts())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
