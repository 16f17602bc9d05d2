/* What a shim tells an operator, between a scripted factory, agent and containerd. */
#include "shim_bench.h"

#include "proto/operator.pb-c.h"
#include "proto/pod_config.pb-c.h"
#include "proto/sandbox.pb-c.h"

struct told {
	bool done;
	enum ttrpc_code code;
	char message[256];
	ProtobufCMessage *response; /* owned */
};

static void on_told(const struct ttrpc_reply *reply, void *userdata)
{
	struct told *told = userdata;
	uint8_t packed[4096];

	told->done = true;
	told->code = reply->code;
	snprintf(told->message, sizeof(told->message), "%s", reply->message);
	if (!reply->response)
		return;
	assert_true(protobuf_c_message_get_packed_size(reply->response) <= sizeof(packed));
	told->response = protobuf_c_message_unpack(reply->response->descriptor, NULL,
						   protobuf_c_message_pack(reply->response, packed),
						   packed);
}

static struct told ask(struct bench *bench, const char *method, const ProtobufCMessage *request,
		       uint64_t timeout_ms)
{
	struct told told = {};
	const struct ttrpc_call_options call = {
		.service = &kiln__shim__v1__operator__descriptor,
		.method = method,
		.request = request,
		.timeout_ms = timeout_ms,
		.on_reply = on_told,
		.userdata = &told,
	};

	(void)ttrpc_client_call(bench->client, &call);
	await(bench->loop, told.done);
	return told;
}

static Kiln__Shim__V1__SandboxInfo *inspect(struct bench *bench)
{
	Kiln__Shim__V1__InspectRequest request = KILN__SHIM__V1__INSPECT_REQUEST__INIT;
	struct told told = ask(bench, "Inspect", &request.base, 0);

	assert_int_equal(told.code, TTRPC_OK);
	return (Kiln__Shim__V1__SandboxInfo *)told.response;
}

static void info_free(Kiln__Shim__V1__SandboxInfo *info)
{
	kiln__shim__v1__sandbox_info__free_unpacked(info, NULL);
}

static void a_shim_without_a_machine_is_told_as_such(void **state)
{
	Kiln__Shim__V1__SandboxInfo *info = inspect(*state);

	assert_string_equal(info->sandbox_id, "c1");
	assert_string_equal(info->namespace_, "default");
	assert_string_equal(info->state, "none");
	assert_null(info->machine);
	assert_int_equal(info->n_containers, 0);
	info_free(info);
}

static void containers_and_machine_are_told(void **state)
{
	struct bench *bench = *state;
	uint64_t now = clock_realtime_ns() / 1000000;
	Kiln__Shim__V1__SandboxInfo *info;

	bench_make_bundle(bench, "c2", SPEC_JSON("", "", ""));
	expect_ok(bench_create(bench, "c1"));
	expect_ok(bench_create(bench, "c2"));
	expect_ok(bench_start(bench, "c2", ""));
	info = inspect(bench);
	assert_string_equal(info->state, "running");
	assert_string_equal(info->error, "");
	assert_int_equal(info->shim_pid, getpid());
	assert_string_equal(info->machine->vm_id, "vm1");
	assert_string_equal(info->machine->template_id, "t1");
	assert_string_equal(info->machine->origin, "pooled");
	assert_string_equal(info->machine->factory_version, "0.0.9");
	assert_int_equal(info->machine->vmm_pid, bench->vmm);
	assert_true(info->machine->claimed_ms >= now);
	assert_int_equal(info->n_containers, 2);
	assert_string_equal(info->containers[0]->id, "c1");
	assert_string_equal(info->containers[0]->state, "created");
	assert_string_equal(info->containers[1]->state, "running");
	assert_non_null(str_after(info->containers[1]->bundle, bench->dir));
	assert_false(info->containers[1]->is_sandbox);
	info_free(info);

	expect_ok(bench_start(bench, "c1", ""));
	bench_exit(bench, "", 7);
	expect_ok(bench_wait(bench, "c1", ""));
	info = inspect(bench);
	assert_string_equal(info->containers[0]->state, "stopped");
	assert_int_equal(info->containers[0]->exit_status, 7);
	info_free(info);
}

static void a_pod_of_the_sandbox_service_has_its_names(void **state)
{
	struct bench *bench = *state;
	Containerd__Runtime__Sandbox__V1__CreateSandboxRequest request =
		CONTAINERD__RUNTIME__SANDBOX__V1__CREATE_SANDBOX_REQUEST__INIT;
	Runtime__V1__PodSandboxConfig config = RUNTIME__V1__POD_SANDBOX_CONFIG__INIT;
	Runtime__V1__PodSandboxMetadata metadata = RUNTIME__V1__POD_SANDBOX_METADATA__INIT;
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	struct answer answer = {};
	uint8_t packed[256];

	metadata.name = (char *)"web";
	metadata.namespace_ = (char *)"shop";
	metadata.uid = (char *)"u1";
	config.metadata = &metadata;
	any.type_url = (char *)config.base.descriptor->name;
	any.value.data = packed;
	any.value.len = runtime__v1__pod_sandbox_config__pack(&config, packed);
	request.sandbox_id = (char *)"c1";
	request.bundle_path = bench->dir;
	request.options = &any;
	(void)ttrpc_client_call(
		bench->client,
		&(struct ttrpc_call_options){
			.service = &containerd__runtime__sandbox__v1__sandbox__descriptor,
			.method = "CreateSandbox",
			.request = &request.base,
			.on_reply = on_bench_answer,
			.userdata = &answer,
		});
	await(bench->loop, answer.done);
	expect_ok(answer);
	Kiln__Shim__V1__SandboxInfo *info = inspect(bench);
	assert_string_equal(info->pod->name, "web");
	assert_string_equal(info->pod->namespace_, "shop");
	assert_string_equal(info->pod->uid, "u1");
	info_free(info);
}

static void the_guest_is_not_needed_for_it(void **state)
{
	struct bench *bench = *state;
	Grpc__GetMetricsRequest request = GRPC__GET_METRICS_REQUEST__INIT;

	expect_ok(bench_create(bench, "c1"));
	bench->agent.hold_method = "GetMetrics";
	assert_int_equal(ask(bench, "GuestMetrics", &request.base, 50).code,
			 TTRPC_DEADLINE_EXCEEDED);
	Kiln__Shim__V1__SandboxInfo *info = inspect(bench);
	assert_string_equal(info->state, "running");
	info_free(info);
}

static void the_guest_s_answers_are_handed_on(void **state)
{
	struct bench *bench = *state;
	Grpc__GetMetricsRequest metrics = GRPC__GET_METRICS_REQUEST__INIT;
	Grpc__GetDiagnosticDataRequest log = GRPC__GET_DIAGNOSTIC_DATA_REQUEST__INIT;
	Grpc__SetPolicyRequest policy = GRPC__SET_POLICY_REQUEST__INIT;
	struct told told;

	assert_int_equal(ask(bench, "GuestMetrics", &metrics.base, 0).code, TTRPC_UNAVAILABLE);
	expect_ok(bench_create(bench, "c1"));
	told = ask(bench, "GuestMetrics", &metrics.base, 0);
	assert_string_equal(((Grpc__Metrics *)told.response)->metrics, FAKE_METRICS);
	protobuf_c_message_free_unpacked(told.response, NULL);
	log.log_type = (char *)"kernel";
	told = ask(bench, "GuestLog", &log.base, 0);
	assert_string_equal(((Grpc__GetDiagnosticDataResponse *)told.response)->data, "kernel");
	protobuf_c_message_free_unpacked(told.response, NULL);
	told = ask(bench, "SetPolicy", &policy.base, 0);
	assert_int_equal(told.code, TTRPC_OK);
	protobuf_c_message_free_unpacked(told.response, NULL);
	bench->agent.fail_method = "SetPolicy";
	bench->agent.fail_code = TTRPC_INVALID_ARGUMENT;
	told = ask(bench, "SetPolicy", &policy.base, 0);
	assert_int_equal(told.code, TTRPC_INVALID_ARGUMENT);
	assert_non_null(strstr(told.message, "scripted failure"));
}

/* Asked again and again, it ends all the same. */
static void a_watcher_does_not_keep_a_forgotten_shim(void **state)
{
	struct bench *bench = *state;
	Kiln__Shim__V1__InspectRequest request = KILN__SHIM__V1__INSPECT_REQUEST__INIT;
	uint64_t start = clock_monotonic_ms();
	_cleanup_free_ char *path = path_join(bench->dir, "shim.sock");
	struct told told = {};

	while (path_exists(path)) {
		assert_true(clock_monotonic_ms() - start < DEADLINE_MS);
		told = ask(bench, "Inspect", &request.base, 100);
		if (told.response)
			protobuf_c_message_free_unpacked(told.response, NULL);
	}
}

#define T(test) cmocka_unit_test_setup_teardown(test, bench_setup, bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_shim_without_a_machine_is_told_as_such),
		T(containers_and_machine_are_told),
		T(a_pod_of_the_sandbox_service_has_its_names),
		T(the_guest_is_not_needed_for_it),
		T(the_guest_s_answers_are_handed_on),
		T(a_watcher_does_not_keep_a_forgotten_shim),
	};

	log_set_level(LOG_LEVEL_ERROR);
	if (!bench_private_mounts())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
