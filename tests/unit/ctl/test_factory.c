/* kiln-ctl factory against a factory of our own, which bakes in a few polls of its Status. */
#include "tests/unit/ctl/harness.h"

#include <jansson.h>

#include "ctl/factory_show.h"
#include "proto/factory.pb-c.h"

static struct peer_process factory;

/* In the child: what it is at. Init ends with the third Status. */
static const char *template_state = "absent";
static const char *const phases[] = { "hashing", "booting", "freezing" };
static unsigned polls;
static struct ttrpc_call *init_call;

static char *text(const char *literal)
{
	return (char *)(uintptr_t)literal;
}

static void on_status(struct ttrpc_call *call, const ProtobufCMessage *request _unused_,
		      void *userdata _unused_)
{
	Kiln__Factory__V1__StatusResponse response = KILN__FACTORY__V1__STATUS_RESPONSE__INIT;
	Kiln__Factory__V1__TemplateStatus template = KILN__FACTORY__V1__TEMPLATE_STATUS__INIT;
	Kiln__Factory__V1__TemplateStatus *templates[] = { &template };
	Kiln__Factory__V1__PoolStatus pool = KILN__FACTORY__V1__POOL_STATUS__INIT;
	Kiln__Factory__V1__ClaimStatus claims = KILN__FACTORY__V1__CLAIM_STATUS__INIT;
	Kiln__Factory__V1__MemoryStatus memory = KILN__FACTORY__V1__MEMORY_STATUS__INIT;
	Kiln__Factory__V1__InitResponse done = KILN__FACTORY__V1__INIT_RESPONSE__INIT;

	template.name = text("default");
	template.state = text(template_state);
	template.pool = &pool;
	template.claims = &claims;
	claims.hits = 7;
	claims.p50_us = 840;
	claims.p99_us = 12345;
	template.memory = &memory;
	memory.shared_bytes = 93 << 20;
	memory.machines = 3;
	pool.target = 3;
	if (init_call) {
		template.state = text("baking");
		template.phase = text(phases[polls]);
	}
	response.version = text("1.2.3");
	response.templates = templates;
	response.n_templates = 1;
	ttrpc_call_reply(call, &response.base);
	if (init_call && ++polls == ARRAY_SIZE(phases)) {
		template_state = "ready";
		ttrpc_call_reply(steal_ptr(init_call), &done.base);
	}
}

static void on_init(struct ttrpc_call *call, const ProtobufCMessage *message,
		    void *userdata _unused_)
{
	const Kiln__Factory__V1__InitRequest *request = (const void *)message;

	if (!str_empty(request->template_) && !str_equal(request->template_, "default")) {
		ttrpc_call_fail_code(call, TTRPC_NOT_FOUND, "no template %s", request->template_);
		return;
	}
	polls = 0;
	init_call = call;
}

static void on_destroy(struct ttrpc_call *call, const ProtobufCMessage *request _unused_,
		       void *userdata _unused_)
{
	Kiln__Factory__V1__DestroyResponse response = KILN__FACTORY__V1__DESTROY_RESPONSE__INIT;

	template_state = "absent";
	ttrpc_call_reply(call, &response.base);
}

static void on_list(struct ttrpc_call *call, const ProtobufCMessage *request _unused_,
		    void *userdata _unused_)
{
	Kiln__Factory__V1__ListResponse response = KILN__FACTORY__V1__LIST_RESPONSE__INIT;
	Kiln__Factory__V1__VmStatus one = KILN__FACTORY__V1__VM_STATUS__INIT;
	Kiln__Factory__V1__VmStatus two = KILN__FACTORY__V1__VM_STATUS__INIT;
	Kiln__Factory__V1__VmStatus *vms[] = { &one, &two };
	Kiln__Factory__V1__ContainerRoot app = KILN__FACTORY__V1__CONTAINER_ROOT__INIT;
	Kiln__Factory__V1__ContainerRoot side = KILN__FACTORY__V1__CONTAINER_ROOT__INIT;
	Kiln__Factory__V1__ContainerRoot *roots[] = { &app, &side };

	one.vm_id = text("0123456789abcdef");
	one.state = text("parked");
	one.template_ = text("default");
	one.pid = 4711;
	one.age_ms = 61500;
	two.vm_id = text("fedcba9876543210");
	two.state = text("claimed");
	two.template_ = text("other");
	two.sandbox_id = text("pod");
	two.origin = text("pooled");
	app.container_id = text("app");
	app.root = text("overlay-image");
	side.container_id = text("side");
	side.root = text("share");
	two.roots = roots;
	two.n_roots = 2;
	response.vms = vms;
	response.n_vms = 2;
	ttrpc_call_reply(call, &response.base);
}

static const struct ttrpc_method methods[] = {
	{ "Status", on_status },
	{ "Init", on_init },
	{ "Destroy", on_destroy },
	{ "List", on_list },
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

/* init, status, destroy, status: what it says and how it exits. */
static void test_cycle(void **state _unused_)
{
	_cleanup_(outcome_done) struct outcome before = RUN(&ctl_factory, "status", "--socket",
							    factory.address);
	assert_int_equal(before.code, CTL_OFF);
	assert_ptr_equal(strstr(before.out, "vm factory is off\n"), before.out);

	_cleanup_(outcome_done) struct outcome init = RUN(&ctl_factory, "init", "--socket",
							  factory.address);
	assert_int_equal(init.code, CTL_OK);
	assert_string_equal(init.out, "vm factory initialized\n");
	assert_string_equal(init.err, "template default: hashing (0 s)\n"
				      "template default: booting (0 s)\n"
				      "template default: freezing (0 s)\n");

	_cleanup_(outcome_done) struct outcome on = RUN(&ctl_factory, "--socket", factory.address,
							"status");
	assert_int_equal(on.code, CTL_OK);
	assert_ptr_equal(strstr(on.out, "vm factory is on\n"), on.out);
	assert_contains(on.out, "kiln-factory 1.2.3");
	assert_contains(on.out, "0 of 3");
	assert_contains(on.out,
			"CLAIMS   HITS  CLONES  BOOTS  FAILED  P50     P99      SHARED  PRIVATE  "
			"MACHINES\n"
			"default  7     0       0      0       840 us  12.3 ms  93 MiB  0 MiB    "
			"3\n");

	_cleanup_(outcome_done) struct outcome destroy = RUN(&ctl_factory, "destroy", "--socket",
							     factory.address);
	assert_int_equal(destroy.code, CTL_OK);
	assert_string_equal(destroy.out, "vm factory destroyed\n");
}

static json_t *parse(const struct outcome *o)
{
	json_t *json = json_loads(o->out, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(json);
	return json;
}

static void test_json(void **state _unused_)
{
	_cleanup_(outcome_done) struct outcome init = RUN(&ctl_factory, "init", "--json",
							  "--socket", factory.address);
	json_t *json = parse(&init);
	assert_true(json_is_true(json_object_get(json, "on")));
	assert_string_equal(json_string_value(json_object_get(json, "version")), "1.2.3");
	assert_true(json_is_array(json_object_get(json, "counters")));
	json_decref(json);

	_cleanup_(outcome_done) struct outcome destroy = RUN(&ctl_factory, "destroy", "--json",
							     "--socket", factory.address);
	json = parse(&destroy);
	assert_true(json_is_false(json_object_get(json, "on")));
	json_decref(json);

	_cleanup_(outcome_done) struct outcome list = RUN(
		&ctl_factory, "list", "--json", "--socket", factory.address, "--template", "other");
	json = parse(&list);
	assert_int_equal(json_array_size(json_object_get(json, "vms")), 1);
	json_decref(json);

	_cleanup_(outcome_done) struct outcome off = RUN(&ctl_factory, "status", "--json",
							 "--socket", "/nonexistent/f.sock");
	json = parse(&off);
	assert_true(json_is_false(json_object_get(json, "on")));
	assert_int_equal(off.code, CTL_OFF);
	json_decref(json);
}

static void test_list(void **state _unused_)
{
	_cleanup_(outcome_done) struct outcome o = RUN(&ctl_factory, "list", "--socket",
						       factory.address);

	assert_int_equal(o.code, CTL_OK);
	assert_string_equal(o.out, "ID                STATE    TEMPLATE  PID   AGE        SANDBOX  "
				   "ORIGIN  ROOTS\n"
				   "0123456789abcdef  parked   default   4711  1 min 1 s  -        "
				   "-       -\n"
				   "fedcba9876543210  claimed  other     0     -          pod      "
				   "pooled  app overlay-image, side share\n");
}

static void test_failures(void **state _unused_)
{
	_cleanup_(outcome_done) struct outcome init = RUN(&ctl_factory, "init", "--template",
							  "other", "--socket", factory.address);
	assert_int_equal(init.code, CTL_FAILED);
	assert_contains(init.err, "no template other");
	assert_string_equal(init.out, "");

	_cleanup_(outcome_done) struct outcome status = RUN(&ctl_factory, "status", "--template",
							    "other", "--socket", factory.address);
	assert_int_equal(status.code, CTL_FAILED);
	assert_contains(status.err, "no template 'other'");

	_cleanup_(outcome_done) struct outcome off = RUN(&ctl_factory, "init", "--socket",
							 "/nonexistent/f.sock");
	assert_int_equal(off.code, CTL_OFF);
	assert_contains(off.err, "no factory answers at /nonexistent/f.sock");
	assert_string_equal(off.out, "");
}

static void assert_usage(const char *first, const char *second, const char *sentence)
{
	_cleanup_(outcome_done) struct outcome o = RUN(&ctl_factory, first, second);

	assert_int_equal(o.code, CTL_USAGE);
	assert_contains(o.err, sentence);
}

/* Reads until text has come `times` times. */
static void await_text(int fd, const char *text, unsigned times)
{
	char buffer[65536];
	size_t len = 0;
	unsigned seen = 0;

	while (seen < times) {
		assert_true(len < sizeof(buffer) - 1);
		ssize_t n = read(fd, buffer + len, sizeof(buffer) - 1 - len);
		assert_true(n > 0);
		len += (size_t)n;
		buffer[len] = '\0';
		seen = 0;
		for (const char *at = buffer; (at = strstr(at, text)); at++)
			seen++;
	}
}

static void test_watch(void **state _unused_)
{
	char *argv[] = { text("factory"),
			 text("status"),
			 text("--watch"),
			 text("1"),
			 text("--socket"),
			 factory.address,
			 NULL };
	int fds[2], status = 0;

	assert_int_equal(pipe(fds), 0);
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(DEADLINE_S);
		dup2(fds[1], STDOUT_FILENO);
		close(fds[0]);
		_exit(100 + ctl_factory.run(6, argv));
	}
	close(fds[1]);
	await_text(fds[0], "vm factory is", 2);
	kill(child, SIGINT);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), CTL_OK);
	close(fds[0]);
}

static void test_usage(void **state _unused_)
{
	assert_usage(NULL, NULL, "init, status, destroy, list, ...?");
	assert_usage("bake", NULL, "factory has no verb 'bake'");
	assert_usage("status", "now", "'now' is one word too many");
	assert_usage("status", "--socket", "--socket wants a value");
	assert_usage("status", "--json=1", "--json=1");
	assert_usage("status", "--template=../x", "cannot name a template");
	assert_usage("init", "--timeout=soon", "--timeout wants seconds");
	assert_usage("status", "--watch=0", "--watch wants seconds");
	assert_usage("list", "--watch", "--watch is for status");
}

static void test_durations(void **state _unused_)
{
	static const struct {
		uint64_t ms;
		const char *text;
	} cases[] = {
		{ 0, "0 ms" },
		{ 999, "999 ms" },
		{ 1000, "1.0 s" },
		{ 59999, "59.9 s" },
		{ 60000, "1 min 0 s" },
		{ 3599999, "59 min 59 s" },
		{ 3600000, "1 h 0 min" },
		{ 86400000, "1 d 0 h" },
		{ 180000000, "2 d 2 h" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *shown = duration_text(cases[i].ms);
		assert_string_equal(shown, cases[i].text);
	}
}

/* It has no Drain, as a factory of before it would. */
static void test_a_factory_of_another_version(void **state _unused_)
{
	_cleanup_(outcome_done) struct outcome drain = RUN(&ctl_factory, "drain", "default",
							   "--socket", factory.address);
	assert_int_equal(drain.code, CTL_FAILED);
	assert_contains(drain.err, "systemctl restart kiln-factory");
	assert_contains(drain.err, "Drain");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cycle),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_usage),
		cmocka_unit_test(test_watch),
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_a_factory_of_another_version),
	};

	alarm(DEADLINE_S);
	return cmocka_run_group_tests(tests, setup, teardown);
}
