/* How kiln-ctl finds and shows the sandboxes of a host: shims that answer, hang or are dead. */
#include "tests/unit/ctl/harness.h"

#include "base/clock.h"
#include "ctl/bundle_words.h"
#include "ctl/replaced.h"
#include "ctl/sandbox_show.h"
#include "ctl/sandboxes.h"
#include "ctl/shim_process.h"
#include "proto/operator.pb-c.h"
#include "tests/unit/folder.h"

/* ---------------------------------------------------------------- scripted shims */

/* In the child, of the shim that it is. */
static const char *peer_id, *peer_bundle, *guest_text;
static pid_t peer_pid; /* that it says it has */

static void on_inspect(struct ttrpc_call *call, const ProtobufCMessage *request _unused_,
		       void *userdata _unused_)
{
	Kiln__Shim__V1__SandboxInfo info = KILN__SHIM__V1__SANDBOX_INFO__INIT;
	Kiln__Shim__V1__Machine machine = KILN__SHIM__V1__MACHINE__INIT;
	Kiln__Shim__V1__ContainerInfo container = KILN__SHIM__V1__CONTAINER_INFO__INIT;
	Kiln__Shim__V1__ContainerInfo *containers[] = { &container };

	machine.origin = (char *)"pooled";
	machine.template_id = (char *)"0123456789abcdef";
	machine.vcpus = 2;
	machine.memory_mib = 256;
	machine.claimed_ms = clock_realtime_ns() / 1000000 - 5000;
	container.id = (char *)peer_id;
	container.state = (char *)"running";
	container.bundle = (char *)(peer_bundle ? peer_bundle : "/nowhere");
	info.sandbox_id = (char *)peer_id;
	info.namespace_ = (char *)"k8s.io";
	info.state = (char *)"running";
	info.version = (char *)"0.0.9";
	info.shim_pid = (uint32_t)peer_pid;
	info.machine = &machine;
	info.containers = containers;
	info.n_containers = 1;
	ttrpc_call_reply(call, &info.base);
}

/* NULL: it never answers. */
static void on_guest_metrics(struct ttrpc_call *call, const ProtobufCMessage *request _unused_,
			     void *userdata _unused_)
{
	Grpc__Metrics metrics = GRPC__METRICS__INIT;

	metrics.metrics = (char *)guest_text;
	if (guest_text)
		ttrpc_call_reply(call, &metrics.base);
}

static const struct ttrpc_method methods[] = {
	{ "Inspect", on_inspect },
	{ "GuestMetrics", on_guest_metrics },
};

static const struct ttrpc_service service = {
	.descriptor = &kiln__shim__v1__operator__descriptor,
	.methods = methods,
	.nmethods = ARRAY_SIZE(methods),
};

#define SHIMS_MAX 8
static pid_t shims[SHIMS_MAX];
static size_t nshims;

static int listen_in_folder(const char *name)
{
	_cleanup_free_ char *path = path_join(test_folder, name);
	int fd;

	assert_int_equal(socket_listen_unix(path, 0600, &fd, NULL), 0);
	return fd;
}

static void start_peer(const char *id, const struct ttrpc_service *served)
{
	int fd = listen_in_folder(id);

	assert_true(nshims < SHIMS_MAX);
	shims[nshims] = fork();
	if (shims[nshims] == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(DEADLINE_S);
		peer_id = id;
		peer_serve(fd, served, 1);
	}
	nshims++;
	close(fd);
}

static void start_shim(const char *id)
{
	start_peer(id, &service);
}

static int shims_teardown(void **state)
{
	while (nshims > 0) {
		kill(shims[--nshims], SIGKILL);
		waitpid(shims[nshims], NULL, 0);
	}
	peer_bundle = guest_text = NULL;
	peer_pid = 0;
	return folder_teardown(state);
}

static struct sandboxes get(bool guest, unsigned timeout_ms)
{
	const struct sandboxes_options options = {
		.dir = test_folder,
		.timeout_ms = timeout_ms,
		.guest = guest,
	};
	struct sandboxes sandboxes;

	assert_int_equal(sandboxes_get(&options, &sandboxes, NULL), 0);
	return sandboxes;
}

/* The caller frees. */
static char *shown(const struct sandboxes *sandboxes)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	sandboxes_print(sandboxes, NULL, out);
	fclose(out);
	return text;
}

/* ---------------------------------------------------------------- tests */

static void test_no_folder_has_no_sandboxes(void **state _unused_)
{
	const struct sandboxes_options options = { .dir = "/nonexistent/shims" };
	struct sandboxes sandboxes = {};

	assert_int_equal(sandboxes_get(&options, &sandboxes, NULL), 0);
	assert_int_equal(sandboxes.count, 0);
}

static void test_all_are_there_in_order(void **state _unused_)
{
	static const char words[] = "{\"annotations\": {"
				    "\"io.kubernetes.cri.sandbox-name\": \"web\","
				    "\"io.kubernetes.cri.sandbox-namespace\": \"shop\","
				    "\"io.kubernetes.cri.sandbox-uid\": \"u1\","
				    "\"io.kubernetes.cri.image-name\": \"nginx:1\"}}";
	_cleanup_free_ char *config = path_join(test_folder, ".bundle/config.json");
	_cleanup_free_ char *bundle = path_join(test_folder, ".bundle");

	assert_int_equal(dir_make(bundle, 0755, NULL), 0);
	assert_int_equal(file_write_volatile(config, words, strlen(words), 0600, NULL), 0);
	start_shim("b");
	peer_bundle = bundle;
	start_shim("a");

	struct sandboxes sandboxes = get(false, 0);
	assert_int_equal(sandboxes.count, 2);
	assert_string_equal(sandboxes.items[0].id, "a");
	assert_string_equal(sandboxes.items[0].pod, "web");
	assert_string_equal(sandboxes.items[0].pod_ns, "shop");
	assert_string_equal(sandboxes.items[0].pod_uid, "u1");
	assert_string_equal(sandboxes.items[0].images[0], "nginx:1");
	assert_string_equal(sandboxes.items[1].id, "b");
	assert_null(sandboxes.items[1].pod);
	_cleanup_free_ char *text = shown(&sandboxes);
	assert_contains(text, "a        k8s.io     shop/web  nginx:1  0123456789ab  pooled  5.");
	assert_contains(text, "256 MiB  2      0.0.9  1 running   running\n");

	json_t *json = sandbox_to_json(&sandboxes.items[0], NULL);
	const char *ns, *image;
	assert_int_equal(json_unpack(json, "{s:{s:s}, s:[{s:s}]}", "pod", "namespace", &ns,
				     "containers", "image", &image),
			 0);
	assert_string_equal(ns, "shop");
	assert_string_equal(image, "nginx:1");
	json_decref(json);
	json = sandbox_to_json(&sandboxes.items[1], NULL);
	assert_null(json_object_get(json, "pod"));
	json_decref(json);
	sandboxes_done(&sandboxes);
}

/* The others' answers do not wait for it, nor does all of it for longer than the deadline. */
static void test_a_shim_that_hangs_is_a_line(void **state _unused_)
{
	int hung = listen_in_folder("hung");

	start_shim("a");
	struct sandboxes sandboxes = get(false, 300);
	_cleanup_free_ char *text = shown(&sandboxes);
	assert_int_equal(sandboxes.count, 2);
	assert_null(sandboxes.items[0].info);
	assert_int_equal(sandboxes.items[0].error.number, ETIMEDOUT);
	assert_non_null(sandboxes.items[1].info);
	assert_contains(text, "unknown: its shim does not answer\n");
	json_t *json = sandbox_to_json(&sandboxes.items[0], NULL);
	assert_string_equal(json_string_value(json_object_get(json, "state")), "unknown");
	json_decref(json);
	sandboxes_done(&sandboxes);
	close(hung);
}

/* One that serves containerd, and no operator yet. */
static void test_a_shim_of_before_the_service_is_a_line(void **state _unused_)
{
	static const struct ttrpc_service none = {
		.descriptor = &kiln__shim__v1__operator__descriptor,
	};

	start_peer("early", &none);
	struct sandboxes sandboxes = get(false, 0);
	_cleanup_free_ char *text = shown(&sandboxes);
	assert_int_equal(sandboxes.count, 1);
	assert_null(sandboxes.items[0].info);
	assert_contains(text, "unknown: its shim is of an earlier Kiln");
	sandboxes_done(&sandboxes);
}

/* A program of its own file, which another one takes the place of. */
static pid_t start_and_replace(void)
{
	_cleanup_free_ char *program = path_join(test_folder, ".program");
	_cleanup_free_ char *command = xasprintf("cp /bin/sleep %s", program);
	int there[2];
	char end;

	assert_int_equal(system(command), 0);
	assert_int_equal(pipe2(there, O_CLOEXEC), 0);
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl(program, program, "1000", NULL);
		_exit(1);
	}
	close(there[1]);
	assert_int_equal(read(there[0], &end, 1), 0); /* it runs */
	close(there[0]);
	assert_false(program_is_replaced(pid));
	assert_int_equal(unlink(program), 0);
	return pid;
}

static void test_who_runs_old_code(void **state _unused_)
{
	pid_t old = start_and_replace();

	assert_true(program_is_replaced(old));
	assert_false(program_is_replaced(getpid()));
	assert_false(program_is_replaced(0));
	peer_pid = getpid();
	start_shim("a");
	peer_pid = old;
	start_shim("b");
	struct sandboxes sandboxes = get(false, 0);
	_cleanup_free_ char *text = shown(&sandboxes);
	assert_contains(text, " 2      0.0.9            1 running ");
	assert_contains(text, " 2      0.0.9, replaced  1 running ");
	json_t *json = sandbox_to_json(&sandboxes.items[0], NULL);
	assert_true(json_is_false(json_object_get(json, "replaced")));
	json_decref(json);
	json = sandbox_to_json(&sandboxes.items[1], NULL);
	assert_true(json_is_true(json_object_get(json, "replaced")));
	json_decref(json);
	sandboxes_done(&sandboxes);
	kill(old, SIGKILL);
	assert_int_equal(waitpid(old, NULL, 0), old);
}

static void test_a_dead_shim_s_socket_is_removed(void **state _unused_)
{
	_cleanup_free_ char *path = path_join(test_folder, "dead");

	close(listen_in_folder("dead"));
	assert_true(path_exists(path));
	struct sandboxes sandboxes = get(false, 0);
	assert_int_equal(sandboxes.count, 0);
	assert_false(path_exists(path));
	sandboxes_done(&sandboxes);
}

static void test_a_guest_that_hangs_leaves_the_rest(void **state _unused_)
{
	start_shim("silent");
	guest_text = "kiln_guest_load 1\n";
	start_shim("well");
	struct sandboxes sandboxes = get(true, 500);
	assert_int_equal(sandboxes.count, 2);
	assert_non_null(sandboxes.items[0].info);
	assert_null(sandboxes.items[0].guest);
	assert_non_null(sandboxes.items[1].info);
	assert_string_equal(sandboxes.items[1].guest->metrics, guest_text);
	sandboxes_done(&sandboxes);
}

static void test_a_query_can_be_taken_back(void **state _unused_)
{
	_cleanup_(loop_free_cleanup) struct loop *loop = loop_new();
	const struct sandboxes_options options = { .dir = test_folder };
	struct sandboxes_query *query;

	start_shim("a");
	close(listen_in_folder("dead"));
	assert_int_equal(sandboxes_ask(loop, &options, NULL, NULL, &query, NULL), 0);
	sandboxes_cancel(query); /* a callback would be a call of NULL */
	bool never = false;
	(void)loop_run_until(loop, &never, 50);
}

static int find(const char *word, const char **ret_id)
{
	static struct sandbox items[] = {
		{ .id = (char *)"abc1", .ns = (char *)"x" },
		{ .id = (char *)"abc2" },
		{ .id = (char *)"abc" },
		{ .id = NULL },
		{ .id = (char *)"twice", .ns = (char *)"x" },
		{ .id = (char *)"twice" },
	};
	const struct sandboxes sandboxes = { items, ARRAY_SIZE(items) };
	const struct sandbox *sandbox = NULL;
	int r = sandboxes_find(&sandboxes, word, &sandbox, NULL);

	if (r == 0)
		*ret_id = sandbox->id;
	return r;
}

static void test_beginnings_of_ids(void **state _unused_)
{
	const char *id = NULL;

	assert_int_equal(find("abc2", &id), 0);
	assert_string_equal(id, "abc2");
	assert_int_equal(find("abc", &id), 0); /* the whole of one */
	assert_string_equal(id, "abc");
	assert_int_equal(find("ab", &id), -EEXIST);
	assert_int_equal(find("b", &id), -ENOENT);
	assert_int_equal(find("", &id), -ENOENT);
	assert_int_equal(find("twice", &id), -EEXIST);
}

static void test_a_shim_s_command_line(void **state _unused_)
{
	static const char line[] =
		"/usr/bin/containerd-shim-kiln-v2\0-namespace\0k8s.io\0-address\0"
		"/run/c.sock\0-publish-binary\0/usr/bin/containerd\0-id\0c1\0start";
	static const char other[] = "/usr/bin/containerd-shim-runc-v2\0-namespace\0a\0-address\0b\0"
				    "-id\0c\0start";
	static const char part[] = "containerd-shim-kiln-v2\0-id";
	struct shim_words words;

	assert_true(shim_words_parse(line, sizeof(line), &words));
	assert_string_equal(words.ns, "k8s.io");
	assert_string_equal(words.address, "/run/c.sock");
	assert_string_equal(words.id, "c1");
	assert_false(shim_words_parse(other, sizeof(other), &words));
	assert_false(shim_words_parse(part, sizeof(part), &words));
	assert_false(shim_words_parse("", 0, &words));
}

static void test_words_of_a_bundle(void **state _unused_)
{
	static const char crio[] = "{\"annotations\": {\"io.kubernetes.cri-o.ImageName\": \"i\","
				   "\"io.kubernetes.pod.name\": \"p\", \"other\": 1}}";
	struct bundle_words words;

	assert_int_equal(bundle_words_parse(crio, strlen(crio), &words, NULL), 0);
	assert_string_equal(words.image, "i");
	assert_string_equal(words.pod, "p");
	assert_null(words.pod_ns);
	bundle_words_done(&words);
	assert_int_equal(bundle_words_parse("{}", 2, &words, NULL), 0);
	assert_null(words.image);
	assert_int_equal(bundle_words_parse("{\"annotations\": [1]}", 20, &words, NULL), 0);
	assert_null(words.image);
	assert_int_equal(bundle_words_parse("[", 1, &words, NULL), -EINVAL);
}

static void test_words_too_many(void **state _unused_)
{
	struct outcome outcome = RUN(&ctl_list, "x");
	assert_int_equal(outcome.code, CTL_USAGE);
	outcome_done(&outcome);
	outcome = RUN(&ctl_inspect, "--json");
	assert_int_equal(outcome.code, CTL_USAGE);
	assert_contains(outcome.err, "which sandbox?");
	outcome_done(&outcome);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, shims_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_folder_has_no_sandboxes),
		IN_FOLDER(test_all_are_there_in_order),
		IN_FOLDER(test_a_shim_that_hangs_is_a_line),
		IN_FOLDER(test_a_shim_of_before_the_service_is_a_line),
		IN_FOLDER(test_who_runs_old_code),
		IN_FOLDER(test_a_dead_shim_s_socket_is_removed),
		IN_FOLDER(test_a_guest_that_hangs_leaves_the_rest),
		IN_FOLDER(test_a_query_can_be_taken_back),
		cmocka_unit_test(test_beginnings_of_ids),
		cmocka_unit_test(test_a_shim_s_command_line),
		cmocka_unit_test(test_words_of_a_bundle),
		cmocka_unit_test(test_words_too_many),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
