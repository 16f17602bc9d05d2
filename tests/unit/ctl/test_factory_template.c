/* kiln-ctl factory inspect, rebuild, verify and console against a factory of our own. */
#include "tests/unit/ctl/harness.h"

#include <jansson.h>

#include "proto/factory.pb-c.h"

static struct peer_process factory;

static char *text(const char *literal)
{
	return (char *)(uintptr_t)literal;
}

static bool is_known(struct ttrpc_call *call, const char *name)
{
	if (str_equal(name, "default") || str_equal(name, "damaged"))
		return true;
	ttrpc_call_fail_code(call, TTRPC_NOT_FOUND, "no template is named \"%s\"", name);
	return false;
}

static void on_inspect(struct ttrpc_call *call, const ProtobufCMessage *message,
		       void *userdata _unused_)
{
	const Kiln__Factory__V1__InspectRequest *request = (const void *)message;
	Kiln__Factory__V1__InspectResponse response = KILN__FACTORY__V1__INSPECT_RESPONSE__INIT;
	Kiln__Factory__V1__TemplateStatus status = KILN__FACTORY__V1__TEMPLATE_STATUS__INIT;
	Kiln__Factory__V1__TemplateInput kernel = KILN__FACTORY__V1__TEMPLATE_INPUT__INIT;
	Kiln__Factory__V1__TemplateInput vcpus = KILN__FACTORY__V1__TEMPLATE_INPUT__INIT;
	Kiln__Factory__V1__TemplateInput *inputs[] = { &kernel, &vcpus };
	char *argv[] = { text("/usr/bin/qemu"), text("-S") };

	if (!is_known(call, request->template_))
		return;
	status.name = text("default");
	status.state = text("ready");
	status.id = text("0123abcd");
	status.stale = text("vcpus changed (1 -> 2)");
	status.memory_bytes = 256 << 20;
	status.memory_allocated_bytes = 93 << 20;
	response.memory_before_trim_bytes = 125 << 20;
	response.status = &status;
	kernel.name = text("kernel");
	kernel.path = text("/boot/vmlinux");
	kernel.baked = kernel.now = text("aaaa");
	vcpus.name = text("vcpus");
	vcpus.baked = text("1");
	vcpus.now = text("2");
	response.inputs = inputs;
	response.n_inputs = 2;
	response.argv = argv;
	response.n_argv = 2;
	ttrpc_call_reply(call, &response.base);
}

static void on_rebuild(struct ttrpc_call *call, const ProtobufCMessage *message,
		       void *userdata _unused_)
{
	const Kiln__Factory__V1__RebuildRequest *request = (const void *)message;
	Kiln__Factory__V1__RebuildResponse response = KILN__FACTORY__V1__REBUILD_RESPONSE__INIT;

	if (!is_known(call, request->template_))
		return;
	response.old_id = text("0123456789abcdef");
	response.id = text("fedcba9876543210");
	ttrpc_call_reply(call, &response.base);
}

static void on_verify(struct ttrpc_call *call, const ProtobufCMessage *message,
		      void *userdata _unused_)
{
	const Kiln__Factory__V1__VerifyRequest *request = (const void *)message;
	Kiln__Factory__V1__VerifyResponse response = KILN__FACTORY__V1__VERIFY_RESPONSE__INIT;
	Kiln__Factory__V1__VerifiedFile memory = KILN__FACTORY__V1__VERIFIED_FILE__INIT;
	Kiln__Factory__V1__VerifiedFile *files[] = { &memory };

	if (!is_known(call, request->template_))
		return;
	response.intact = str_equal(request->template_, "default");
	memory.name = text("memory");
	if (!response.intact)
		memory.problem = text("/store/memory has changed since it was baked");
	response.files = files;
	response.n_files = 1;
	ttrpc_call_reply(call, &response.base);
}

static void on_console(struct ttrpc_call *call, const ProtobufCMessage *message,
		       void *userdata _unused_)
{
	const Kiln__Factory__V1__ConsoleRequest *request = (const void *)message;
	Kiln__Factory__V1__ConsoleResponse response = KILN__FACTORY__V1__CONSOLE_RESPONSE__INIT;

	if (!is_known(call, request->template_))
		return;
	if (str_equal(request->template_, "default"))
		response.text = text("Linux version 6\n\033]0;me\akiln-agent is up");
	ttrpc_call_reply(call, &response.base);
}

static const struct ttrpc_method methods[] = {
	{ "Inspect", on_inspect },
	{ "Rebuild", on_rebuild },
	{ "Verify", on_verify },
	{ "Console", on_console },
};

static int setup(void **state _unused_)
{
	const struct ttrpc_service service = { &kiln__factory__v1__factory__descriptor, methods,
					       ARRAY_SIZE(methods) };

	peer_start(&factory, &service, 1);
	return 0;
}

static int teardown(void **state _unused_)
{
	peer_stop(&factory);
	return 0;
}

#define ASK(...) RUN(&ctl_factory, __VA_ARGS__, "--socket", factory.address)

static void test_inspect(void **state _unused_)
{
	_cleanup_(outcome_done) struct outcome o = ASK("inspect", "default");
	assert_int_equal(o.code, CTL_OK);
	assert_contains(o.out, "stale           vcpus changed (1 -> 2)\n");
	assert_contains(o.out, "256 MiB, 125 MiB before trimming, 93 MiB after\n");
	assert_contains(o.out, "kernel         /boot/vmlinux\n                 sha256 aaaa\n");
	assert_contains(o.out, "vcpus          1 (changed)\n                 now 2\n");
	assert_contains(o.out, "  /usr/bin/qemu\n  -S\n");

	_cleanup_(outcome_done) struct outcome as_json = ASK("inspect", "default", "--json");
	json_t *json = json_loads(as_json.out, 0, NULL);
	assert_non_null(json);
	assert_int_equal(json_array_size(json_object_get(json, "inputs")), 2);
	json_decref(json);
}

static void test_rebuild(void **state _unused_)
{
	_cleanup_(outcome_done) struct outcome o = ASK("rebuild", "default");
	assert_int_equal(o.code, CTL_OK);
	assert_string_equal(o.out, "template default is rebuilt: 0123456789ab -> fedcba987654\n");
}

static void test_verify(void **state _unused_)
{
	_cleanup_(outcome_done) struct outcome good = ASK("verify", "default");
	assert_int_equal(good.code, CTL_OK);
	assert_string_equal(good.out, "memory  intact\n");

	_cleanup_(outcome_done) struct outcome bad = ASK("verify", "damaged");
	assert_int_equal(bad.code, CTL_FAILED);
	assert_string_equal(bad.out, "memory  damaged\n");
	assert_contains(bad.err, "has changed since it was baked");
	assert_contains(bad.err, "factory rebuild damaged");
}

static void test_console(void **state _unused_)
{
	_cleanup_(outcome_done) struct outcome o = ASK("console", "default");
	assert_int_equal(o.code, CTL_OK);
	assert_string_equal(o.out, "Linux version 6\n?]0;me?kiln-agent is up\n");

	_cleanup_(outcome_done) struct outcome nothing = ASK("console", "damaged");
	assert_int_equal(nothing.code, CTL_OK);
	assert_string_equal(nothing.out, "");
}

static void test_failures(void **state _unused_)
{
	static const char *const verbs[] = { "inspect", "rebuild", "verify", "console" };

	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		_cleanup_(outcome_done) struct outcome o = ASK(text(verbs[i]), "nobody");
		assert_int_equal(o.code, CTL_FAILED);
		assert_contains(o.err, "no template is named");

		_cleanup_(outcome_done) struct outcome none = ASK(text(verbs[i]));
		assert_int_equal(none.code, CTL_USAGE);
		assert_contains(none.err, "wants a template's name");
	}
	_cleanup_(outcome_done) struct outcome bad = ASK("destroy", "a", "../b");
	assert_int_equal(bad.code, CTL_USAGE);
	assert_contains(bad.err, "'../b' cannot name a template");
	_cleanup_(outcome_done) struct outcome both = ASK("init", "a", "--template", "b");
	assert_int_equal(both.code, CTL_USAGE);
	assert_contains(both.err, "not both");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_inspect, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rebuild, setup, teardown),
		cmocka_unit_test_setup_teardown(test_verify, setup, teardown),
		cmocka_unit_test_setup_teardown(test_console, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
