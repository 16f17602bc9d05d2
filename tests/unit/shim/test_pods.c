/* Pods between a scripted factory, agent and containerd: their sandbox containers, what their
 * containers share, and the Sandbox service. */
#include "proto/pod_config.pb-c.h"
#include "shim_bench.h"

#include "proto/cgroups_v1.pb-c.h"
#include "proto/cgroups_v2.pb-c.h"
#include "proto/sandbox.pb-c.h"

/* A sandbox container as CRI has it; its sysctls are for the others. */
#define SANDBOX_JSON                                                                               \
	"{\"ociVersion\":\"1.0.2\",\"process\":{\"args\":[\"/pause\"],\"cwd\":\"/\"},"             \
	"\"root\":{\"path\":\"rootfs\"},\"hostname\":\"pod\","                                     \
	"\"annotations\":{\"io.kubernetes.cri.container-type\":\"sandbox\"},"                      \
	"\"linux\":{\"sysctl\":{\"kernel.shm_rmid_forced\":\"1\"}}}"

static void a_pod_s_sandbox_runs_nothing_in_the_guest(void **state)
{
	struct bench *bench = *state;
	struct answer answer;

	bench_make_bundle(bench, "p1", SANDBOX_JSON);
	expect_ok(bench_create(bench, "p1"));
	expect_ok(bench_start(bench, "p1", ""));
	expect(bench_exec(bench, "p1", "x1", PROCESS_JSON), TTRPC_FAILED_PRECONDITION, "sandbox");
	expect_ok(bench_create(bench, "c1"));
	assert_int_equal(bench->agent.spec->linux->n_sysctl, 1);
	assert_string_equal(bench->agent.spec->linux->sysctl[0]->key, "kernel.shm_rmid_forced");
	expect_ok(bench_start(bench, "c1", ""));
	bench_exit(bench, "", 0);
	expect_ok(bench_wait(bench, "c1", ""));
	expect_ok(bench_delete(bench, "c1", ""));
	expect_ok(bench_kill(bench, "p1", "", SIGWINCH)); /* a pause program does not care */
	expect_ok(bench_kill(bench, "p1", "", SIGKILL));
	answer = bench_wait(bench, "p1", "");
	assert_int_equal(answer.exit_status, 137);
	expect(bench_kill(bench, "p1", "", SIGKILL), TTRPC_NOT_FOUND, "already finished");
	expect_ok(bench_delete(bench, "p1", ""));
	await(bench->loop, strstr(strbuf_text(&bench->events), "exit(p1) delete"));
	assert_string_equal(strbuf_text(&bench->events),
			    "create start create start exit(c1) delete exit(p1) delete");
	assert_string_equal(strbuf_text(&bench->agent.calls),
			    "SetGuestDateTime CreateSandbox CreateContainer WaitProcess "
			    "StartContainer RemoveContainer");
	assert_int_equal(bench->claims, 1);
}

/* In a pod, as CRI's engines name a pid namespace. */
static struct answer create_sharing(struct bench *bench, const char *id, uint32_t pid)
{
	_cleanup_free_ char *config = xasprintf(
		"{\"process\":{\"args\":[\"sh\"],\"cwd\":\"/\"},\"root\":{\"path\":\"rootfs\"},"
		"\"linux\":{\"namespaces\":[{\"type\":\"ipc\"},{\"type\":\"network\"},"
		"{\"type\":\"pid\",\"path\":\"/proc/%u/ns/pid\"}]}}",
		pid);

	bench_make_bundle(bench, id, config);
	return bench_create(bench, id);
}

static void containers_share_processes_with_the_pod(void **state)
{
	struct bench *bench = *state;
	struct answer answer;

	bench_make_bundle(bench, "p1", SANDBOX_JSON);
	answer = bench_create(bench, "p1");
	expect_ok(answer);
	assert_true(is_there(answer.pid));
	expect_ok(create_sharing(bench, "a", answer.pid));
	assert_true(bench->agent.sandbox_pidns);
	assert_string_equal(bench->agent.pids_of, "");
	assert_int_equal(bench->agent.spec->linux->n_namespaces, 1); /* ipc */
	expect_ok(bench_create(bench, "c1"));
	assert_false(bench->agent.sandbox_pidns);
	expect_ok(create_sharing(bench, "b", answer.pid));
	assert_true(bench->agent.sandbox_pidns);
}

static void containers_share_processes_with_one(void **state)
{
	struct bench *bench = *state;
	struct answer first, second, joined;

	bench_make_bundle(bench, "p1", SANDBOX_JSON);
	bench_make_bundle(bench, "c2", SPEC_JSON("", "", ""));
	expect_ok(bench_create(bench, "p1"));
	first = bench_create(bench, "c1");
	second = bench_create(bench, "c2");
	expect_ok(first);
	expect_ok(second);
	assert_int_not_equal(first.pid, bench->vmm);
	assert_int_not_equal(first.pid, second.pid);
	expect_ok(bench_start(bench, "c1", ""));
	joined = create_sharing(bench, "a", first.pid);
	expect_ok(joined);
	assert_false(bench->agent.sandbox_pidns);
	assert_string_equal(bench->agent.pids_of, "c1");
	expect_ok(create_sharing(bench, "b", second.pid));
	assert_string_equal(bench->agent.pids_of, "c2");
	expect_ok(create_sharing(bench, "c", joined.pid)); /* what has joined has none of its own */
	assert_string_equal(bench->agent.pids_of, "c1");
	expect(create_sharing(bench, "d", (uint32_t)getpid()), TTRPC_UNIMPLEMENTED,
	       "not of this sandbox");
	assert_true(is_there(first.pid));
	bench_exit(bench, "", 0);
	expect_ok(bench_wait(bench, "c1", ""));
	assert_false(is_there(first.pid));
	expect(create_sharing(bench, "e", first.pid), TTRPC_INVALID_ARGUMENT, "no such file");
	assert_true(is_there(second.pid));
}

/* Outside of pods all have one pid: the VMM's, or one for a new network namespace. */
static void processes_of_several_cannot_be_told_apart(void **state)
{
	struct bench *bench = *state;
	struct answer answer;

	bench_make_bundle(bench, "c2", SPEC_JSON("", "", ""));
	answer = bench_create(bench, "c1");
	expect_ok(answer);
	expect_ok(create_sharing(bench, "a", answer.pid));
	assert_string_equal(bench->agent.pids_of, "c1");
	expect(create_sharing(bench, "b", answer.pid), TTRPC_UNIMPLEMENTED, "of c1 and of a");
}

/* Of what the guest has: -1: these are no metrics. */
static int cards_in(const Google__Protobuf__Any *data)
{
	int cards = -1;

	if (str_equal(data->type_url, "io.containerd.cgroups.v1.Metrics")) {
		Io__Containerd__Cgroups__V1__Metrics *metrics =
			io__containerd__cgroups__v1__metrics__unpack(NULL, data->value.len,
								     data->value.data);
		cards = (int)metrics->n_network;
		io__containerd__cgroups__v1__metrics__free_unpacked(metrics, NULL);
	} else if (str_equal(data->type_url, "io.containerd.cgroups.v2.Metrics")) {
		Io__Containerd__Cgroups__V2__Metrics *metrics =
			io__containerd__cgroups__v2__metrics__unpack(NULL, data->value.len,
								     data->value.data);
		cards = (int)metrics->n_network;
		io__containerd__cgroups__v2__metrics__free_unpacked(metrics, NULL);
	}
	return cards;
}

struct stats_answer {
	bool done;
	int cards;
};

static void on_stats_answer(const struct ttrpc_reply *reply, void *userdata)
{
	struct stats_answer *answer = userdata;

	answer->done = true;
	if (!reply->response)
		return;
	answer->cards =
		reply->response->descriptor == &containerd__task__v2__stats_response__descriptor
			? cards_in(((const Containerd__Task__V2__StatsResponse *)reply->response)
					   ->stats)
			: cards_in(((const Containerd__Runtime__Sandbox__V1__SandboxMetricsResponse
					     *)reply->response)
					   ->metrics->data);
}

static int cards_of(struct bench *bench, const char *id)
{
	Containerd__Task__V2__StatsRequest request = CONTAINERD__TASK__V2__STATS_REQUEST__INIT;
	struct stats_answer answer = { .cards = -1 };
	struct ttrpc_call_options options = {
		.service = &containerd__task__v2__task__descriptor,
		.method = "Stats",
		.request = &request.base,
		.on_reply = on_stats_answer,
		.userdata = &answer,
	};

	request.id = (char *)id;
	ttrpc_client_call(bench->client, &options);
	await(bench->loop, answer.done);
	return answer.cards;
}

static int cards_of_pod(struct bench *bench)
{
	Containerd__Runtime__Sandbox__V1__SandboxMetricsRequest request =
		CONTAINERD__RUNTIME__SANDBOX__V1__SANDBOX_METRICS_REQUEST__INIT;
	struct stats_answer answer = { .cards = -1 };
	struct ttrpc_call_options options = {
		.service = &containerd__runtime__sandbox__v1__sandbox__descriptor,
		.method = "SandboxMetrics",
		.request = &request.base,
		.on_reply = on_stats_answer,
		.userdata = &answer,
	};

	request.sandbox_id = (char *)"c1";
	ttrpc_client_call(bench->client, &options);
	await(bench->loop, answer.done);
	return answer.cards;
}

/* The guest's cards are a container's own where it is alone, and its pod's where it has one. */
static void the_network_is_counted_once(void **state)
{
	struct bench *bench = *state;

	expect_ok(bench_create(bench, "c1"));
	assert_int_equal(cards_of(bench, "c1"), 1);
	bench_make_bundle(bench, "p1", SANDBOX_JSON);
	expect_ok(bench_create(bench, "p1"));
	assert_int_equal(cards_of(bench, "c1"), 0);
	assert_int_equal(cards_of(bench, "p1"), 1);
	assert_non_null(strstr(strbuf_text(&bench->agent.calls), "StatsGuest"));
}

static struct answer pod_call(struct bench *bench, const char *method,
			      const ProtobufCMessage *request)
{
	struct answer answer = {};
	struct ttrpc_call_options options = {
		.service = &containerd__runtime__sandbox__v1__sandbox__descriptor,
		.method = method,
		.request = request,
		.on_reply = on_bench_answer,
		.userdata = &answer,
	};

	ttrpc_client_call(bench->client, &options);
	await(bench->loop, answer.done);
	return answer;
}

/* Their requests consist of the sandbox's id. */
static struct answer pod_simple(struct bench *bench, const char *method)
{
	Containerd__Runtime__Sandbox__V1__PingRequest ping =
		CONTAINERD__RUNTIME__SANDBOX__V1__PING_REQUEST__INIT;
	const ProtobufCMethodDescriptor *descriptor =
		protobuf_c_service_descriptor_get_method_by_name(
			&containerd__runtime__sandbox__v1__sandbox__descriptor, method);
	uint8_t packed[64];
	ProtobufCMessage *request;
	struct answer answer;

	ping.sandbox_id = (char *)"c1";
	request = protobuf_c_message_unpack(
		descriptor->input, NULL,
		containerd__runtime__sandbox__v1__ping_request__pack(&ping, packed), packed);
	answer = pod_call(bench, method, request);
	protobuf_c_message_free_unpacked(request, NULL);
	return answer;
}

/* What it leaves out is the pod's, and so is any path. */
#define MEMBER_JSON                                                                                \
	"{\"process\":{\"args\":[\"sh\"],\"cwd\":\"/\"},\"root\":{\"path\":\"rootfs\"},"           \
	"\"linux\":{\"namespaces\":[{\"type\":\"mount\"},"                                         \
	"{\"type\":\"pid\",\"path\":\"/proc/1/ns/pid\"}]}}"

static void a_pod_of_the_sandbox_service(void **state)
{
	struct bench *bench = *state;

	expect(pod_simple(bench, "StartSandbox"), TTRPC_FAILED_PRECONDITION, "none");
	expect(pod_simple(bench, "SandboxMetrics"), TTRPC_NOT_FOUND, "not running");
	expect(pod_simple(bench, "PingSandbox"), TTRPC_NOT_FOUND, "not running");
	expect(pod_simple(bench, "SandboxStatus"), TTRPC_NOT_FOUND, "not found");
	expect_ok(pod_simple(bench, "CreateSandbox"));
	expect(pod_simple(bench, "CreateSandbox"), TTRPC_ALREADY_EXISTS, "already exists");
	expect_ok(pod_simple(bench, "StartSandbox"));
	expect_ok(pod_simple(bench, "PingSandbox"));
	expect_ok(pod_simple(bench, "Platform"));
	assert_int_equal(cards_of_pod(bench), 1);
	expect_ok(bench_create(bench, "c1"));
	assert_int_equal(cards_of(bench, "c1"), 0);
	expect_ok(bench_start(bench, "c1", ""));
	bench_exit(bench, "", 0);
	expect_ok(bench_wait(bench, "c1", ""));
	expect_ok(bench_delete(bench, "c1", ""));
	expect_ok(bench_shutdown(bench)); /* the last container is not the pod's end */
	expect_ok(pod_simple(bench, "SandboxStatus"));
	assert_int_equal(bench->claims, 1);
	assert_int_equal(bench->releases, 0);
	bench_make_bundle(bench, "m1", MEMBER_JSON);
	expect_ok(bench_create(bench, "m1"));
	assert_true(bench->agent.sandbox_pidns);
	expect_ok(pod_simple(bench, "StopSandbox"));
	await(bench->loop, bench->releases == 1);
	expect_ok(pod_simple(bench, "StopSandbox"));
	expect_ok(pod_simple(bench, "WaitSandbox"));
	expect_ok(pod_simple(bench, "ShutdownSandbox"));
	ttrpc_client_free(steal_ptr(bench->client));
	turn(bench->loop, DEADLINE_MS); /* until the shim stops the loop */
}

/* A CreateSandbox with this namespace option of CRI's. */
static struct answer create_pod_with(struct bench *bench, Runtime__V1__NamespaceOption *option)
{
	Containerd__Runtime__Sandbox__V1__CreateSandboxRequest request =
		CONTAINERD__RUNTIME__SANDBOX__V1__CREATE_SANDBOX_REQUEST__INIT;
	Runtime__V1__PodSandboxConfig config = RUNTIME__V1__POD_SANDBOX_CONFIG__INIT;
	Runtime__V1__LinuxPodSandboxConfig linux_ = RUNTIME__V1__LINUX_POD_SANDBOX_CONFIG__INIT;
	Runtime__V1__LinuxSandboxSecurityContext security =
		RUNTIME__V1__LINUX_SANDBOX_SECURITY_CONTEXT__INIT;
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	uint8_t packed[64];

	security.namespace_options = option;
	linux_.security_context = &security;
	config.linux = &linux_;
	any.type_url = (char *)"runtime.v1.PodSandboxConfig";
	any.value.data = packed;
	any.value.len = runtime__v1__pod_sandbox_config__pack(&config, packed);
	request.sandbox_id = (char *)"c1";
	request.options = &any;
	return pod_call(bench, "CreateSandbox", &request.base);
}

static void a_pod_with_the_host_s_namespaces_is_refused(void **state)
{
	struct bench *bench = *state;
	Runtime__V1__NamespaceOption option = RUNTIME__V1__NAMESPACE_OPTION__INIT;
	const struct {
		Runtime__V1__NamespaceMode *mode;
		const char *why;
	} rows[] = {
		{ &option.network, "the host's network namespace is asked for" },
		{ &option.pid, "the host's pid namespace is asked for" },
		{ &option.ipc, "the host's ipc namespace is asked for" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		*rows[i].mode = RUNTIME__V1__NAMESPACE_MODE__NODE;
		expect(create_pod_with(bench, &option), TTRPC_UNIMPLEMENTED, rows[i].why);
		*rows[i].mode = RUNTIME__V1__NAMESPACE_MODE__POD;
	}
	assert_int_equal(bench->claims, 0);
	expect_ok(create_pod_with(bench, &option));
	assert_int_equal(bench->claims, 1);
}

/* A process in a network namespace of its own; 0: that needs root. */
static pid_t start_netns(void)
{
	int ready[2];
	char byte = 0;

	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		byte = unshare(CLONE_NEWNET) == 0;
		(void)!write(ready[1], &byte, 1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(ready[1]);
	if (byte)
		return pid;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return 0;
}

static void the_status_of_a_pod_names_its_network(void **state)
{
	struct bench *bench = *state;
	Containerd__Runtime__Sandbox__V1__CreateSandboxRequest create =
		CONTAINERD__RUNTIME__SANDBOX__V1__CREATE_SANDBOX_REQUEST__INIT;
	Containerd__Runtime__Sandbox__V1__SandboxStatusRequest status =
		CONTAINERD__RUNTIME__SANDBOX__V1__SANDBOX_STATUS_REQUEST__INIT;
	pid_t pid = start_netns();

	if (pid == 0)
		skip();
	_cleanup_free_ char *netns = xasprintf("/proc/%d/ns/net", (int)pid);
	_cleanup_free_ char *info = xasprintf("pid=%d state=SANDBOX_READY networkSandboxPath=%s",
					      (int)bench->vmm, netns);
	create.netns_path = netns;
	expect_ok(pod_call(bench, "CreateSandbox", &create.base));
	expect_ok(pod_simple(bench, "StartSandbox"));
	status.verbose = true;
	struct answer answer = pod_call(bench, "SandboxStatus", &status.base);
	assert_string_equal(answer.info, info);
	expect_ok(pod_simple(bench, "StopSandbox"));
	await(bench->loop, bench->releases == 1);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_pod_s_sandbox_runs_nothing_in_the_guest),
		T(containers_share_processes_with_the_pod),
		T(containers_share_processes_with_one),
		T(processes_of_several_cannot_be_told_apart),
		T(the_network_is_counted_once),
		T(a_pod_of_the_sandbox_service),
		T(a_pod_with_the_host_s_namespaces_is_refused),
		T(the_status_of_a_pod_names_its_network),
	};

	log_set_level(LOG_LEVEL_ERROR);
	if (!bench_private_mounts())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
