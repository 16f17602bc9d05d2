/* When a sandbox's time is over: the judgement by times that are given, the watch by a short one,
 * and what containerd sees of the end. */
#include "shim_bench.h"

#include "proto/sandbox.pb-c.h"
#include "shim/lifetime.h"

#define S_MS  1000u
#define MS_NS 1000000u

static struct lifetime_state state_of(uint64_t ttl_s, uint64_t idle_s)
{
	return (struct lifetime_state){ .limits = { ttl_s, idle_s, 5 },
					.born_ms = 1000 * S_MS,
					.used_ms = 1000 * S_MS,
					.looked_ms = 1000 * S_MS };
}

/* So many seconds after its birth. */
static enum lifetime_end look(struct lifetime_state *life, uint64_t s, uint64_t used_s,
			      uint64_t cpu_ms, uint64_t *ret_next_ms)
{
	return lifetime_look(life, life->born_ms + s * S_MS, life->born_ms + used_s * S_MS,
			     cpu_ms * MS_NS, ret_next_ms);
}

static void nothing_prolongs_a_time_to_live(void **state _unused_)
{
	struct lifetime_state life = state_of(60, 0);
	uint64_t next = 0;

	assert_int_equal(look(&life, 0, 0, 0, &next), LIFETIME_GOES_ON);
	assert_true(next == 60 * S_MS);
	assert_int_equal(look(&life, 59, 59, 59 * S_MS, &next), LIFETIME_GOES_ON);
	assert_true(next == S_MS);
	assert_int_equal(look(&life, 60, 60, 60 * S_MS, &next), LIFETIME_TTL);
}

static void every_use_prolongs_an_idle_timeout(void **state _unused_)
{
	struct lifetime_state life = state_of(0, 20);
	uint64_t next = 0;

	assert_int_equal(look(&life, 0, 0, 0, &next), LIFETIME_GOES_ON);
	assert_true(next == 5 * S_MS); /* a quarter of it, for the processor */
	assert_int_equal(look(&life, 19, 0, 0, &next), LIFETIME_GOES_ON);
	assert_true(next == S_MS);
	assert_int_equal(look(&life, 20, 15, 0, &next), LIFETIME_GOES_ON);
	assert_int_equal(look(&life, 34, 15, 0, &next), LIFETIME_GOES_ON);
	assert_int_equal(look(&life, 35, 15, 0, &next), LIFETIME_IDLE);
}

static void a_busy_processor_is_use(void **state _unused_)
{
	struct lifetime_state life = state_of(0, 20);
	uint64_t next = 0;

	/* 5 percent of ten seconds is half a second: so much is idle still. */
	assert_int_equal(look(&life, 10, 0, 500, &next), LIFETIME_GOES_ON);
	assert_int_equal(look(&life, 15, 0, 500 + 251, &next), LIFETIME_GOES_ON);
	assert_int_equal(look(&life, 34, 0, 500 + 251, &next), LIFETIME_GOES_ON);
	assert_int_equal(look(&life, 35, 0, 500 + 251, &next), LIFETIME_IDLE);
	/* What went backwards was not known. */
	assert_int_equal(look(&life, 36, 0, 0, &next), LIFETIME_IDLE);
}

static void a_use_in_the_future_is_none(void **state _unused_)
{
	struct lifetime_state life = state_of(0, 20);
	uint64_t next = 0;

	assert_int_equal(look(&life, 1, 1000, 0, &next), LIFETIME_GOES_ON);
	assert_int_equal(look(&life, 21, 0, 0, &next), LIFETIME_IDLE);
}

static void a_look_comes_every_ten_seconds_at_least(void **state _unused_)
{
	struct lifetime_state life = state_of(86400, 3600);
	uint64_t next = 0;

	assert_int_equal(look(&life, 0, 0, 0, &next), LIFETIME_GOES_ON);
	assert_true(next == 10 * S_MS);
}

/* ---------------------------------------------------------------- before containerd */

static void run_one(struct bench *bench, const char *config)
{
	bench->config = config;
	expect_ok(bench_create(bench, "c1"));
	expect_ok(bench_start(bench, "c1", ""));
}

static void expect_ended(struct bench *bench, uint32_t status)
{
	await(bench->loop, strstr(strbuf_text(&bench->events), "exit(c1)"));
	assert_int_equal(bench->last_exit_status, status);
	await(bench->loop, bench->releases == 1);
	expect_ok(bench_delete(bench, "c1", ""));
}

static void a_time_to_live_ends_as_a_stop_does(void **state)
{
	struct bench *bench = *state;

	run_one(bench, "{\"ttl_s\": 1}");
	bench->agent.die_by_signal = true;
	expect_ended(bench, 128 + SIGTERM);
	assert_int_equal(bench->agent.last_signal, SIGTERM);
}

/* Here nothing ends by SIGTERM. */
static void what_does_not_end_is_killed(void **state)
{
	run_one(*state, "{\"idle_s\": 1, \"idle_cpu_percent\": 100}");
	expect_ended(*state, PROCESS_KILLED_STATUS);
}

/* An exec that runs is use, though it says nothing. */
static void an_exec_prolongs_an_idle_timeout(void **state)
{
	struct bench *bench = *state;

	run_one(bench, "{\"idle_s\": 2, \"idle_cpu_percent\": 100}");
	expect_ok(bench_exec(bench, "c1", "x1", PROCESS_JSON));
	expect_ok(bench_start(bench, "c1", "x1"));
	turn(bench->loop, 3500);
	assert_int_equal(bench->releases, 0);
	bench->agent.die_by_signal = true;
	expect_ok(bench_kill(bench, "c1", "x1", SIGKILL));
	expect_ended(bench, 128 + SIGTERM);
}

/* ---------------------------------------------------------------- pods of the Sandbox service */

static void send_pod(struct bench *bench, const char *method, const ProtobufCMessage *request,
		     struct answer *answer)
{
	const struct ttrpc_call_options options = {
		.service = &containerd__runtime__sandbox__v1__sandbox__descriptor,
		.method = method,
		.request = request,
		.on_reply = on_bench_answer,
		.userdata = answer,
	};

	*answer = (struct answer){};
	(void)ttrpc_client_call(bench->client, &options);
}

/* With one annotation, as containerd 2 hands a pod's to CreateSandbox. */
static void run_pod(struct bench *bench, const char *key, const char *value)
{
	Containerd__Runtime__Sandbox__V1__CreateSandboxRequest create =
		CONTAINERD__RUNTIME__SANDBOX__V1__CREATE_SANDBOX_REQUEST__INIT;
	Containerd__Runtime__Sandbox__V1__CreateSandboxRequest__AnnotationsEntry entry =
		CONTAINERD__RUNTIME__SANDBOX__V1__CREATE_SANDBOX_REQUEST__ANNOTATIONS_ENTRY__INIT;
	Containerd__Runtime__Sandbox__V1__CreateSandboxRequest__AnnotationsEntry *entries[] = {
		&entry,
	};
	Containerd__Runtime__Sandbox__V1__StartSandboxRequest start =
		CONTAINERD__RUNTIME__SANDBOX__V1__START_SANDBOX_REQUEST__INIT;
	struct answer answer;

	entry.key = (char *)key;
	entry.value = (char *)value;
	create.sandbox_id = start.sandbox_id = (char *)"c1";
	create.annotations = entries;
	create.n_annotations = ARRAY_SIZE(entries);
	send_pod(bench, "CreateSandbox", &create.base, &answer);
	await(bench->loop, answer.done);
	expect_ok(answer);
	send_pod(bench, "StartSandbox", &start.base, &answer);
	await(bench->loop, answer.done);
	expect_ok(answer);
}

static void send_pod_wait(struct bench *bench, struct answer *answer)
{
	Containerd__Runtime__Sandbox__V1__WaitSandboxRequest request =
		CONTAINERD__RUNTIME__SANDBOX__V1__WAIT_SANDBOX_REQUEST__INIT;

	request.sandbox_id = (char *)"c1";
	send_pod(bench, "WaitSandbox", &request.base, answer);
}

/* Its containers end as by a stop, and who waits for the pod is answered. */
static void a_pod_has_a_time_to_live(void **state)
{
	struct bench *bench = *state;
	struct answer waited;

	bench->agent.die_by_signal = true;
	run_pod(bench, "io.kiln.ttl_s", "2");
	send_pod_wait(bench, &waited);
	expect_ok(bench_create(bench, "c1"));
	expect_ok(bench_start(bench, "c1", ""));
	expect_ended(bench, 128 + SIGTERM);
	await(bench->loop, waited.done);
	expect_ok(waited);
	assert_int_equal(bench->claims, 1);
}

/* Without a container, too, for it has a machine. */
static void an_empty_pod_is_idle(void **state)
{
	struct bench *bench = *state;
	struct answer waited;

	run_pod(bench, "io.kiln.idle_s", "1");
	send_pod_wait(bench, &waited);
	await(bench->loop, waited.done);
	expect_ok(waited);
	await(bench->loop, bench->releases == 1);
}

static void an_exec_in_a_pod_is_use(void **state)
{
	struct bench *bench = *state;
	struct answer waited;

	run_pod(bench, "io.kiln.idle_s", "2");
	send_pod_wait(bench, &waited);
	expect_ok(bench_create(bench, "c1"));
	expect_ok(bench_start(bench, "c1", ""));
	expect_ok(bench_exec(bench, "c1", "x1", PROCESS_JSON));
	expect_ok(bench_start(bench, "c1", "x1"));
	turn(bench->loop, 3500);
	assert_false(waited.done);
	bench->agent.die_by_signal = true;
	expect_ok(bench_kill(bench, "c1", "x1", SIGKILL));
	expect_ended(bench, 128 + SIGTERM);
	await(bench->loop, waited.done);
}

static void without_limits_it_lives_on(void **state)
{
	struct bench *bench = *state;

	run_one(bench, "{\"ttl_s\": 0}");
	turn(bench->loop, 1500);
	assert_int_equal(bench->releases, 0);
}

int main(void)
{
#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, bench_setup, bench_teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_prolongs_a_time_to_live),
		cmocka_unit_test(every_use_prolongs_an_idle_timeout),
		cmocka_unit_test(a_busy_processor_is_use),
		cmocka_unit_test(a_use_in_the_future_is_none),
		cmocka_unit_test(a_look_comes_every_ten_seconds_at_least),
		WITH_BENCH(a_time_to_live_ends_as_a_stop_does),
		WITH_BENCH(what_does_not_end_is_killed),
		WITH_BENCH(an_exec_prolongs_an_idle_timeout),
		WITH_BENCH(a_pod_has_a_time_to_live),
		WITH_BENCH(an_empty_pod_is_idle),
		WITH_BENCH(an_exec_in_a_pod_is_use),
		WITH_BENCH(without_limits_it_lives_on),
	};

	log_set_level(LOG_LEVEL_ERROR);
	if (!bench_private_mounts())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
