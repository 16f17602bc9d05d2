/* kiln-ctl agent against an agent of our own, and a factory that hands out channels to it. */
#include "tests/unit/ctl/harness.h"

#include <sys/syscall.h>

#include "ctl/agent_request.h"
#include "proto/agent.pb-c.h"
#include "proto/factory.pb-c.h"
#include "proto/health.pb-c.h"

static struct peer_process agent;

static void on_check(struct ttrpc_call *call, const ProtobufCMessage *request _unused_,
		     void *userdata _unused_)
{
	Grpc__HealthCheckResponse response = GRPC__HEALTH_CHECK_RESPONSE__INIT;

	response.status = GRPC__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
	ttrpc_call_reply(call, &response.base);
}

static void on_create_sandbox(struct ttrpc_call *call, const ProtobufCMessage *message,
			      void *userdata _unused_)
{
	const Grpc__CreateSandboxRequest *request = (const void *)message;
	Google__Protobuf__Empty response = GOOGLE__PROTOBUF__EMPTY__INIT;

	if (str_equal(request->sandbox_id, "x"))
		ttrpc_call_reply(call, &response.base);
	else
		ttrpc_call_fail_code(call, TTRPC_INVALID_ARGUMENT, "sandbox \"%s\"",
				     request->sandbox_id);
}

static void on_wait_process(struct ttrpc_call *call, const ProtobufCMessage *request _unused_,
			    void *userdata _unused_)
{
	Grpc__WaitProcessResponse response = GRPC__WAIT_PROCESS_RESPONSE__INIT;

	ttrpc_call_reply(call, &response.base);
}

static void on_start_container(struct ttrpc_call *call, const ProtobufCMessage *request _unused_,
			       void *userdata _unused_)
{
	ttrpc_call_fail_code(call, TTRPC_NOT_FOUND, "no container \x1b[2Jhere");
}

/* Never answers; the caller's deadline does. */
static void on_get_oom_event(struct ttrpc_call *call, const ProtobufCMessage *request _unused_,
			     void *userdata _unused_)
{
	ttrpc_call_on_cancel(call, NULL, NULL);
}

static void on_set_guest_date_time(struct ttrpc_call *call,
				   const ProtobufCMessage *request _unused_,
				   void *userdata _unused_)
{
	Google__Protobuf__Empty response = GOOGLE__PROTOBUF__EMPTY__INIT;

	ttrpc_call_reply(call, &response.base);
}

/* ---- the factory: its machines are channels to this very process */

static char *text(const char *literal)
{
	return (char *)(uintptr_t)literal;
}

static void on_claim(struct ttrpc_call *call, const ProtobufCMessage *message,
		     void *userdata _unused_)
{
	const Kiln__Factory__V1__ClaimRequest *request = (const void *)message;
	Kiln__Factory__V1__ClaimResponse response = KILN__FACTORY__V1__CLAIM_RESPONSE__INIT;
	Kiln__Factory__V1__ClaimFd kinds[] = {
		KILN__FACTORY__V1__CLAIM_FD__CLAIM_FD_AGENT,
		KILN__FACTORY__V1__CLAIM_FD__CLAIM_FD_QMP,
		KILN__FACTORY__V1__CLAIM_FD__CLAIM_FD_PIDFD,
	};
	int channel[2], monitor[2];

	if (str_equal(request->template_, "broken")) {
		ttrpc_call_fail_code(call, TTRPC_FAILED_PRECONDITION, "the template is broken");
		return;
	}
	if (str_equal(request->template_, "absent")) {
		ttrpc_call_fail_code(call, TTRPC_NOT_FOUND, "no template is named so");
		return;
	}
	if (socket_pair(channel) < 0 || socket_pair(monitor) < 0 ||
	    ttrpc_server_serve(peer_server, channel[0], false, NULL) < 0)
		abort();
	int fds[] = { channel[1], monitor[1], (int)syscall(SYS_pidfd_open, getpid(), 0) };
	close(monitor[0]);
	response.vm_id = text("0123abcd");
	response.origin = KILN__FACTORY__V1__ORIGIN__CLONED;
	response.reason = text("the pool is empty");
	response.fds = kinds;
	response.n_fds = ARRAY_SIZE(kinds);
	response.next_stream_id = 7;
	response.vmm_pid = (uint32_t)getpid();
	response.vm_dir = text("/nonexistent/vms/0123abcd");
	response.share_dir = text("/nonexistent/vms/0123abcd/share");
	response.share_tag = text("share");
	response.template_id = text("t");
	response.claim_us = 1500;
	response.vcpus = request->vcpus ? request->vcpus : 2;
	response.memory_mib = request->memory_mib ? request->memory_mib : 300;
	if (!str_empty(request->annotations))
		response.reason = request->annotations;
	ttrpc_call_reply_fds(call, &response.base, fds, ARRAY_SIZE(fds));
}

static void on_confirm(struct ttrpc_call *call, const ProtobufCMessage *request _unused_,
		       void *userdata _unused_)
{
	Kiln__Factory__V1__ConfirmResponse response = KILN__FACTORY__V1__CONFIRM_RESPONSE__INIT;

	ttrpc_call_reply(call, &response.base);
}

static char *released_path(void)
{
	return path_join(agent.dir, "released");
}

/* Leaves a file behind for the test to see. */
static void on_release(struct ttrpc_call *call, const ProtobufCMessage *message,
		       void *userdata _unused_)
{
	const Kiln__Factory__V1__ReleaseRequest *request = (const void *)message;
	Kiln__Factory__V1__ReleaseResponse response = KILN__FACTORY__V1__RELEASE_RESPONSE__INIT;
	_cleanup_free_ char *path = released_path();

	if (file_write_atomic(path, request->vm_id, strlen(request->vm_id), 0600, NULL) < 0)
		abort();
	ttrpc_call_reply(call, &response.base);
}

static const struct ttrpc_method factory_methods[] = {
	{ "Claim", on_claim },
	{ "Confirm", on_confirm },
	{ "Release", on_release },
};

static const struct ttrpc_method health_methods[] = { { "Check", on_check } };

static const struct ttrpc_method agent_methods[] = {
	{ "CreateSandbox", on_create_sandbox },         { "WaitProcess", on_wait_process },
	{ "StartContainer", on_start_container },       { "GetOOMEvent", on_get_oom_event },
	{ "SetGuestDateTime", on_set_guest_date_time },
};

static int setup(void **state _unused_)
{
	const struct ttrpc_service services[] = {
		{ &grpc__health__descriptor, health_methods, ARRAY_SIZE(health_methods) },
		{ &grpc__agent_service__descriptor, agent_methods, ARRAY_SIZE(agent_methods) },
		{ &kiln__factory__v1__factory__descriptor, factory_methods,
		  ARRAY_SIZE(factory_methods) },
	};

	peer_start(&agent, services, ARRAY_SIZE(services));
	return 0;
}

static int teardown(void **state _unused_)
{
	peer_stop(&agent);
	return 0;
}

static void test_one_request(void **state _unused_)
{
	_cleanup_(outcome_done) struct outcome o = RUN(&ctl_agent, "--server-address",
						       agent.address, "Check");

	assert_int_equal(o.code, CTL_OK);
	assert_string_equal(o.out, "{\n  \"status\": \"SERVING\"\n}\n");
	assert_string_equal(o.err, "");
}

static void test_requests_in_order(void **state _unused_)
{
	_cleanup_(outcome_done) struct outcome o = RUN(
		&ctl_agent, "-c", "CreateSandbox {\"sandboxId\":\"x\"}", "--call", "WaitProcess",
		"--server-address", agent.address, "CreateSandbox", "{\"sandbox_id\":\"x\"}",
		"Check");

	assert_string_equal(o.err, "");
	assert_int_equal(o.code, CTL_OK);
	assert_string_equal(o.out,
			    "{}\n{\n  \"status\": 0\n}\n{}\n{\n  \"status\": \"SERVING\"\n}\n");
}

static void test_requests_of_a_file(void **state _unused_)
{
	static const char lines[] = "# first\n\n  CreateSandbox {\"sandbox_id\": \"x\"}\nCheck\n";
	_cleanup_free_ char *path = path_join(agent.dir, "requests");

	assert_int_equal(file_write_atomic(path, lines, strlen(lines), 0600, NULL), 0);
	_cleanup_(outcome_done) struct outcome o = RUN(
		&ctl_agent, "--server-address", agent.address, "--file", path, "--repeat", "2");
	_cleanup_(outcome_done) struct outcome none = RUN(&ctl_agent, "--file", "/no/such");

	assert_int_equal(o.code, CTL_OK);
	const char *first = strstr(o.out, "SERVING");
	assert_non_null(first);
	assert_non_null(strstr(first + 1, "SERVING"));
	assert_int_equal(none.code, CTL_USAGE);
	assert_contains(none.err, "/no/such");
	unlink(path);
}

static void test_failure_does_not_end_it(void **state _unused_)
{
	_cleanup_(outcome_done) struct outcome o = RUN(
		&ctl_agent, "--server-address", agent.address, "-k", "StartContainer", "Check");

	assert_int_equal(o.code, CTL_FAILED);
	assert_contains(o.err, "StartContainer: NOT_FOUND");
	assert_contains(o.out, "SERVING");
}

static void test_failure_ends_it(void **state _unused_)
{
	_cleanup_(outcome_done) struct outcome o = RUN(&ctl_agent, "--server-address",
						       agent.address, "Check", "StartContainer",
						       "{\"container_id\":\"c\"}", "Check");

	assert_int_equal(o.code, CTL_FAILED);
	assert_string_equal(o.out, "{\n  \"status\": \"SERVING\"\n}\n");
	/* A guest's text has no power over the terminal. */
	assert_contains(o.err, "StartContainer: NOT_FOUND: no container ");
	assert_null(strchr(o.err, '\x1b'));
}

static void test_unimplemented(void **state _unused_)
{
	_cleanup_(outcome_done) struct outcome o = RUN(&ctl_agent, "--server-address",
						       agent.address, "GetMetrics");

	assert_int_equal(o.code, CTL_FAILED);
	assert_contains(o.err, "GetMetrics: UNIMPLEMENTED: ");
}

static void test_timeout(void **state _unused_)
{
	_cleanup_(outcome_done) struct outcome o = RUN(
		&ctl_agent, "--server-address", agent.address, "--timeout", "1", "GetOOMEvent");

	assert_int_equal(o.code, CTL_FAILED);
	assert_contains(o.err, "GetOOMEvent: DEADLINE_EXCEEDED: ");
}

static void test_message_from_file(void **state _unused_)
{
	_cleanup_free_ char *path = path_join(agent.dir, "request.json");
	_cleanup_free_ char *word = xasprintf("@%s", path);

	assert_int_equal(file_write_atomic(path, "{\"sandbox_id\":\"x\"}", 18, 0600, NULL), 0);
	_cleanup_(outcome_done) struct outcome o = RUN(&ctl_agent, "--server-address",
						       agent.address, "CreateSandbox", word);
	assert_string_equal(o.err, "");
	assert_int_equal(o.code, CTL_OK);
}

static void test_nobody_there(void **state _unused_)
{
	_cleanup_(outcome_done) struct outcome a = RUN(&ctl_agent, "--server-address",
						       "unix:///nonexistent/agent.sock", "Check");
	_cleanup_(outcome_done) struct outcome f = RUN(&ctl_agent, "--socket",
						       "/nonexistent/factory.sock", "Check");

	assert_int_equal(a.code, CTL_FAILED);
	assert_contains(a.err, "/nonexistent/agent.sock");
	assert_int_equal(f.code, CTL_OFF);
	assert_contains(f.err, "kiln-factory");
}

static void assert_released(void)
{
	_cleanup_free_ char *path = released_path();
	_cleanup_free_ char *id = NULL;

	assert_int_equal(file_read(path, 64, &id, NULL, NULL), 0);
	assert_string_equal(id, "0123abcd");
	assert_int_equal(unlink(path), 0);
}

static void test_machine_of_the_factory(void **state _unused_)
{
	_cleanup_(outcome_done) struct outcome o = RUN(&ctl_agent, "--socket", agent.address,
						       "Check", "WaitProcess");

	assert_int_equal(o.code, CTL_OK);
	assert_contains(o.out, "SERVING");
	assert_contains(
		o.err,
		": machine 0123abcd (2 vCPUs, 300 MiB), cloned in 1.5 ms: the pool is empty\n");
	assert_released();
}

static void test_machine_of_a_size(void **state _unused_)
{
	_cleanup_(outcome_done) struct outcome o = RUN(&ctl_agent, "--socket", agent.address,
						       "--vcpus", "3", "--memory", "400",
						       "--annotations", "gpu,zone=a", "Check");

	assert_int_equal(o.code, CTL_OK);
	assert_contains(o.err, " (3 vCPUs, 400 MiB), cloned in 1.5 ms: gpu,zone=a\n");
	assert_released();
}

/* A machine goes back whatever came of the requests. */
static void test_machine_after_failure(void **state _unused_)
{
	_cleanup_(outcome_done) struct outcome o = RUN(&ctl_agent, "--socket", agent.address,
						       "StartContainer", "Check");

	assert_int_equal(o.code, CTL_FAILED);
	assert_string_equal(o.out, "");
	assert_released();
}

static char interrupted[8192]; /* the kernel's words on the command that was */

static void interrupt(int signo _unused_)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/status", (int)command_pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	(void)!read(fd, interrupted, sizeof(interrupted) - 1);
	close(fd);
	kill(command_pid, SIGINT);
}

/* A signal while a request waits for an answer that never comes. The alarm's own deadline is
 * given up for the time of the test. */
static void test_machine_after_signal(void **state _unused_)
{
	signal(SIGALRM, interrupt);
	alarm(1);
	_cleanup_(outcome_done) struct outcome o = RUN(&ctl_agent, "--socket", agent.address,
						       "GetOOMEvent");

	signal(SIGALRM, SIG_DFL);
	alarm(DEADLINE_S);
	assert_int_equal(o.code, CTL_FAILED);
	assert_contains(o.err, "GetOOMEvent: stopped by a signal");
	assert_contains(interrupted, "Seccomp:\t2"); /* SECCOMP_MODE_FILTER */
	assert_released();
}

static void test_claim_refused(void **state _unused_)
{
	_cleanup_(outcome_done) struct outcome o = RUN(&ctl_agent, "--socket", agent.address,
						       "--template", "broken", "Check");
	_cleanup_(outcome_done) struct outcome absent = RUN(&ctl_agent, "--socket", agent.address,
							    "--template", "absent", "Check");

	assert_int_equal(o.code, CTL_FAILED);
	assert_contains(o.err, "the template is broken");
	assert_int_equal(absent.code, CTL_FAILED);
	assert_contains(absent.err, "no template is named so");
}

static void assert_usage(const char *word, const char *second, const char *sentence)
{
	_cleanup_(outcome_done) struct outcome o = RUN(&ctl_agent, word, second);

	if (o.code != CTL_USAGE)
		fail_msg("%s: exit code %d", word, o.code);
	assert_contains(o.err, sentence);
	assert_contains(o.err, "usage: ");
	assert_string_equal(o.out, "");
}

static void test_usage(void **state _unused_)
{
	assert_usage("CreatSandbox", NULL, "did you mean CreateSandbox?");
	assert_usage("check", NULL, "did you mean Check?");
	assert_usage("Wait", NULL, "did you mean WaitProcess?");
	assert_usage("Zzz", NULL, "'agent list' shows all");
	assert_usage("-x", NULL, "there is no option -x");
	assert_usage("--nothing", NULL, "--nothing");
	assert_usage("--vcpus", "0", "--vcpus wants a number");
	assert_usage("--memory", "1G", "--memory wants a number");
	assert_usage("--timeout", "0", "--timeout wants seconds");
	assert_usage("--timeout", NULL, "--timeout wants a value");
	assert_usage("{}", NULL, "does not follow a request");
	assert_usage("CreateSandbox", "{", "CreateSandbox: no JSON: line 1");
	assert_usage("CreateSandbox", "{\"sandbox\":1}",
		     "CreateSandbox: sandbox: grpc.CreateSandboxRequest has no such field");
	assert_usage("-c", "CreateSandbox [1]", "neither a JSON object");
	assert_usage("Check", "@/nonexistent.json", "/nonexistent.json");
	_cleanup_(outcome_done) struct outcome none = RUN(&ctl_agent, NULL);
	assert_int_equal(none.code, CTL_USAGE);
}

static void test_list(void **state _unused_)
{
	_cleanup_(outcome_done) struct outcome word = RUN(&ctl_agent, "list");
	_cleanup_(outcome_done) struct outcome option = RUN(&ctl_agent, "--list");

	assert_int_equal(word.code, CTL_OK);
	assert_string_equal(word.out, option.out);
	assert_contains(word.out, "  CreateContainer\n      container_id: string, ");
	assert_contains(word.out, "storages: [Storage]");
	assert_contains(word.out, "grpc.Health\n  Check\n");
}

static void test_help(void **state _unused_)
{
	_cleanup_(outcome_done) struct outcome o = RUN(&ctl_agent, "Check", "--help");

	assert_int_equal(o.code, CTL_OK);
	assert_contains(o.out, "--server-address");
}

/* "usage: " stands before the first line only. */
static void test_usages_are_aligned(void **state _unused_)
{
	static const struct ctl_command *const commands[] = {
		&ctl_agent, &ctl_direct_volume, &ctl_factory, &ctl_image, &ctl_version,
	};

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		for (const char *line = strchr(commands[i]->usage, '\n'); line;
		     line = strchr(line + 1, '\n'))
			assert_non_null(str_after(line, "\n       kiln-ctl "));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_request),
		cmocka_unit_test(test_requests_in_order),
		cmocka_unit_test(test_requests_of_a_file),
		cmocka_unit_test(test_failure_does_not_end_it),
		cmocka_unit_test(test_failure_ends_it),
		cmocka_unit_test(test_unimplemented),
		cmocka_unit_test(test_timeout),
		cmocka_unit_test(test_message_from_file),
		cmocka_unit_test(test_nobody_there),
		cmocka_unit_test(test_machine_of_the_factory),
		cmocka_unit_test(test_machine_of_a_size),
		cmocka_unit_test(test_machine_after_failure),
		cmocka_unit_test(test_machine_after_signal),
		cmocka_unit_test(test_claim_refused),
		cmocka_unit_test(test_usage),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_help),
		cmocka_unit_test(test_usages_are_aligned),
	};

	alarm(DEADLINE_S);
	commands_apart = true;
	return cmocka_run_group_tests(tests, setup, teardown);
}
