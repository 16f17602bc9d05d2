/* Calls by which the host looks into the guest or puts something into it. */
#include "agent/copy_file.h"
#include "agent/policy.h"
#include "proto/health.pb-c.h"
#include "tests/unit/agent/container_fixture.h"

/* ---------------------------------------------------------------- CopyFile */

static char *target(const char *name)
{
	return xasprintf("%s/%s", fixture.folder, name);
}

static int copy(const char *path, uint32_t mode, int64_t size, int64_t offset, const char *data,
		struct error *err)
{
	Grpc__CopyFileRequest request = GRPC__COPY_FILE_REQUEST__INIT;

	request.path = (char *)path;
	request.file_mode = mode;
	request.dir_mode = 0751;
	request.uid = 12;
	request.gid = 34;
	request.file_size = size;
	request.offset = offset;
	request.data.data = (uint8_t *)data;
	request.data.len = strlen(data);
	error_done(err);
	return copy_file(fixture.folder, &request, err);
}

static void expect_file(const char *path, mode_t mode, const char *content)
{
	_cleanup_free_ char *text = NULL;
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	assert_int_equal(st.st_mode, mode);
	assert_int_equal(st.st_uid, 12);
	assert_int_equal(st.st_gid, 34);
	if (!content)
		return;
	assert_int_equal(file_read(path, 64, &text, NULL, NULL), 0);
	assert_string_equal(text, content);
}

static void test_copy_in_pieces(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};

	skip_unless_possible();
	_cleanup_free_ char *path = target("deep/er/file");
	_cleanup_free_ char *parent = target("deep/er");
	struct stat st;
	assert_int_equal(copy(path, 0104640, 8, 0, "abcd", &err), 0);
	assert_int_equal(access(path, F_OK), -1); /* not before it is whole */
	assert_int_equal(copy(path, 0104640, 8, 5, "fgh", &err), -EINVAL);
	assert_int_equal(copy(path, 0104640, 8, 4, "efgh", &err), 0);
	expect_file(path, S_IFREG | 04640, "abcdefgh");
	assert_int_equal(lstat(parent, &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0751);
	assert_int_equal(copy(path, 0600, 2, 0, "xy", &err), 0); /* in its place */
	expect_file(path, S_IFREG | 0600, "xy");
	assert_int_equal(copy(path, 0600, 0, 0, "", &err), 0);
	expect_file(path, S_IFREG | 0600, "");
	assert_int_equal(copy(path, 0600, 3, 0, "wxyz", &err), -EINVAL);
	assert_int_equal(copy(path, 0600, 9, 3, "x", &err), -EINVAL); /* the first has not come */
	assert_int_equal(copy(path, 020600, 0, 0, "", &err), -EINVAL);
}

static void test_copy_of_links_and_folders(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};
	char to[64] = "";

	skip_unless_possible();
	_cleanup_free_ char *folder = target("folder");
	_cleanup_free_ char *link = target("folder/link");
	_cleanup_free_ char *through = target("folder/link/file");
	assert_int_equal(copy(folder, S_IFDIR | 0710, 0, 0, "", &err), 0);
	expect_file(folder, S_IFDIR | 0710, NULL);
	assert_int_equal(copy(folder, S_IFDIR | 0700, 0, 0, "", &err), 0); /* once more */
	assert_int_equal(copy(link, S_IFLNK | 0777, 0, 0, "/etc", &err), 0);
	assert_int_equal(copy(link, S_IFLNK | 0777, 0, 0, "/tmp", &err), 0);
	assert_true(readlink(link, to, sizeof(to) - 1) > 0);
	assert_string_equal(to, "/tmp");
	assert_int_equal(copy(link, S_IFLNK | 0777, 0, 0, "", &err), -EINVAL);
	/* Nothing is put where a link leads to. */
	assert_int_equal(copy(through, 0644, 1, 0, "x", &err), -ELOOP);
	assert_int_equal(copy(link, 0644, 1, 0, "x", &err), 0);
	expect_file(link, S_IFREG | 0644, "x");
}

static void test_copy_stays_below_its_root(void **state _unused_)
{
	static const char *const names[] = { "", "/", "..", "../x", "a/../../x", "a/.", "/." };
	_cleanup_(error_done) struct error err = {};

	skip_unless_possible();
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_free_ char *path = target(names[i]);
		assert_int_equal(copy(path, 0644, 1, 0, "x", &err), -EPERM);
	}
	_cleanup_free_ char *beside = xasprintf("%s-beside/x", fixture.folder);
	assert_int_equal(copy(beside, 0644, 1, 0, "x", &err), -EPERM);
	must_fail("not below /run/kata-containers", "CopyFile", "{\"path\": \"/etc/passwd\"}");
}

/* ---------------------------------------------------------------- the policy */

static void test_policies_that_are_none(void **state _unused_)
{
	static const char *const texts[][2] = {
		{ "", "" },
		{ "package agent_policy", "" },
		{ "{}", "one key" },
		{ "{\"allow\": [], \"x\": 1}", "one key" },
		{ "{\"allow\": {\"NoSuch\": true}}", "no method \"NoSuch\"" },
		{ "{\"allow\": {\"SetPolicy\": false}}", "neither true nor" },
		{ "{\"allow\": {\"SetPolicy\": []}}", "neither true nor" },
		{ "{\"allow\": {\"SetPolicy\": [1]}}", "is an object" },
		{ "{\"allow\": {\"SetPolicy\": [{\"plicy\": 1}]}}", "no field \"plicy\"" },
		{ "{\"allow\": {\"SetPolicy\": [{\"policy\": {\"$prefx\": 1}}]}}", "\"$prefx\"" },
		{ "{\"allow\": {\"SetPolicy\": [{\"policy\": {\"$prefix\": 1}}]}}", "$prefix" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		_cleanup_(error_done) struct error err = {};
		struct policy *policy = NULL;
		assert_int_equal(policy_parse(texts[i][0], &policy, &err), -EINVAL);
		if (!strstr(error_message(&err), texts[i][1]))
			fail_msg("%s: %s", texts[i][0], error_message(&err));
	}
}

static bool allows(const char *pattern, const char *json)
{
	_cleanup_free_ char *text = xasprintf("{\"allow\": {\"CreateContainer\": [%s]}}", pattern);
	_cleanup_(error_done) struct error err = {};
	_cleanup_(policy_free_cleanup) struct policy *policy = NULL;
	ProtobufCMessage *request = request_from_json("CreateContainer", json);

	if (policy_parse(text, &policy, &err) < 0)
		fail_msg("%s: %s", pattern, error_message(&err));
	int r = policy_check(policy, "CreateContainer", request, &err);
	assert_true(r == 0 || r == -EPERM);
	protobuf_c_message_free_unpacked(request, NULL);
	return r == 0;
}

static void test_patterns(void **state _unused_)
{
	static const char request[] =
		"{\"container_id\": \"web-1\", \"OCI\": {\"Process\": {\"Args\": [\"sh\", \"-c\"]},"
		" \"Root\": {\"Readonly\": true}}, \"storages\": [{\"driver\": \"blk\"}]}";
	static const struct {
		const char *pattern;
		bool allowed;
	} rows[] = {
		{ "{}", true },
		{ "{\"container_id\": \"web-1\"}", true },
		{ "{\"container_id\": \"web\"}", false },
		{ "{\"container_id\": {\"$prefix\": \"web-\"}}", true },
		{ "{\"container_id\": {\"$any\": [\"a\", \"web-1\"]}}", true },
		{ "{\"container_id\": {\"$any\": [\"a\", \"b\"]}}", false },
		{ "{\"container_id\": \"web-1\", \"sandbox_pidns\": true}", false },
		{ "{\"sandbox_pidns\": false}", true },
		{ "{\"string_user\": null}", true },
		{ "{\"OCI\": null}", false },
		{ "{\"OCI\": {\"Hooks\": null, \"Root\": {\"Readonly\": true}}}", true },
		{ "{\"OCI\": {\"Process\": {\"Args\": [\"sh\", {}]}}}", false },
		{ "{\"OCI\": {\"Process\": {\"Args\": [\"sh\", {\"$prefix\": \"-\"}]}}}", true },
		{ "{\"OCI\": {\"Process\": {\"Args\": [\"sh\"]}}}", false },
		{ "{\"OCI\": {\"Process\": {\"User\": {\"UID\": 0}}}}", false },
		{ "{\"storages\": {\"$each\": {\"driver\": {\"$any\": [\"blk\", \"bind\"]}}}}",
		  true },
		{ "{\"storages\": {\"$each\": {\"driver\": \"bind\"}}}", false },
		{ "{\"devices\": []}", true },
		{ "{\"storages\": []}", false },
		{ "{\"stdin_port\": {\"$max\": 0}}", true },
		{ "{\"container_id\": {\"$max\": 0}}", false },
		{ "{\"stdin_port\": {\"$prefix\": \"0\"}}", false },
		{ "{\"OCI\": {\"$prefix\": \"\"}}", false },
		{ "{\"container_id\": \"a\"}, {\"container_id\": \"web-1\"}", true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (allows(rows[i].pattern, request) != rows[i].allowed)
			fail_msg("%s", rows[i].pattern);
}

/* As a caller meets it; the last of the file's, for nothing takes a policy away. */
static void test_policy_denies_the_rest(void **state _unused_)
{
	skip_unless_possible();
	must_fail("policy", "SetPolicy", "{\"policy\": \"package agent_policy\"}");
	must("ListInterfaces", "{}");
	must("SetPolicy",
	     "{\"policy\": \"{\\\"allow\\\": {\\\"GetMetrics\\\": true, \\\"SetPolicy\\\":"
	     " [{\\\"policy\\\": \\\"{\\\\\\\"allow\\\\\\\": {\\\\\\\"GetMetrics\\\\\\\": true}}\\\"}]}}\"}");
	must("GetMetrics", "{}");
	must_fail("policy does not allow ListInterfaces", "ListInterfaces", "{}");
	must_fail("does not allow this SetPolicy", "SetPolicy",
		  "{\"policy\": \"{\\\"allow\\\": {\\\"ListInterfaces\\\": true}}\"}");
	must("SetPolicy", "{\"policy\": \"{\\\"allow\\\": {\\\"GetMetrics\\\": true}}\"}");
	must_fail("does not allow SetPolicy", "SetPolicy",
		  "{\"policy\": \"{\\\"allow\\\": {\\\"GetMetrics\\\": true}}\"}");
	Grpc__CheckRequest check = GRPC__CHECK_REQUEST__INIT;
	_cleanup_(error_done) struct error err = {};
	ProtobufCMessage *response = call_service(&grpc__health__descriptor, "Check", &check.base,
						  &err);
	assert_non_null(response);
	protobuf_c_message_free_unpacked(response, NULL);
	policy_free(steal_ptr(fixture.agent.policy));
}

/* ---------------------------------------------------------------- the rest */

static char *answer_text(const char *method, const char *json)
{
	ProtobufCMessage *request = request_from_json(method, json);
	_cleanup_(error_done) struct error err = {};
	ProtobufCMessage *response = call_service(&grpc__agent_service__descriptor, method, request,
						  &err);

	if (!response)
		fail_msg("%s: %s", method, error_message(&err));
	json_t *object = pbjson_from_message(response, 0);
	char *text = json_dumps(object, 0);
	json_decref(object);
	protobuf_c_message_free_unpacked(response, NULL);
	protobuf_c_message_free_unpacked(request, NULL);
	return text;
}

static void test_metrics_and_diagnostics(void **state _unused_)
{
	skip_unless_possible();
	create("one", "\"args\": [\"sleep\", \"1000\"]");
	must("StartContainer", "{\"container_id\": \"one\"}");
	_cleanup_free_ char *metrics = answer_text("GetMetrics", "{}");
	assert_non_null(strstr(metrics, "kiln_guest_memory_bytes{item=\\\"MemTotal\\\"} "));
	assert_non_null(strstr(metrics, "kiln_agent_resident_bytes "));
	if (fixture.cgroup)
		assert_non_null(
			strstr(metrics, "kiln_container_processes{container=\\\"one\\\"} "));
	_cleanup_free_ char *about = answer_text(
		"GetDiagnosticData", "{\"log_type\": \"container\", \"container_id\": \"one\"}");
	assert_non_null(strstr(about, "container one is running"));
	must_fail("no container \"x\"", "GetDiagnosticData",
		  "{\"log_type\": \"container\", \"container_id\": \"x\"}");
	must_fail("neither", "GetDiagnosticData", "{\"log_type\": \"z\"}");
	must("RemoveContainer", "{\"container_id\": \"one\"}");
}

static void test_update_of_ephemeral_mounts(void **state _unused_)
{
	static const char tmpfs[] = "\"driver\": \"ephemeral\", \"fstype\": \"tmpfs\", \"source\":"
				    " \"tmpfs\", \"mount_point\": \"/run/kiln-agent-test-tmpfs\"";

	skip_unless_possible();
	must("DestroySandbox", "{}");
	must("CreateSandbox", "{\"storages\": [{%s, \"options\": [\"size=64k\"]}]}", tmpfs);
	must("UpdateEphemeralMounts",
	     "{\"storages\": [{%s, \"options\": [\"remount\", \"size=128k\"]}]}", tmpfs);
	_cleanup_free_ char *stats = answer_text(
		"GetVolumeStats", "{\"volume_guest_path\": \"/run/kiln-agent-test-tmpfs\"}");
	assert_non_null(strstr(stats, "\"total\": 131072"));
	must_fail("Bad value for 'size'", "UpdateEphemeralMounts",
		  "{\"storages\": [{%s, \"options\": [\"size=much\"]}]}", tmpfs);
	must_fail("no storage is mounted", "UpdateEphemeralMounts",
		  "{\"storages\": [{\"driver\": \"ephemeral\", \"mount_point\": \"/x\"}]}");
	must("DestroySandbox", "{}");
	assert_int_equal(rmdir("/run/kiln-agent-test-tmpfs"), 0);
	must("CreateSandbox", "{}");
}

static void test_refused_by_name(void **state _unused_)
{
	static const char *const rows[][2] = {
		{ "AddSwap", "not in one" },
		{ "AddSwapPath", "not in one" },
		{ "MemHotplugByProbe", "not in one" },
		{ "GetIPTables", "iptables-save" },
		{ "SetIPTables", "iptables-restore" },
		{ "MemAgentMemcgSet", "no memory agent" },
		{ "MemAgentCompactSet", "MemAgentCompactSet is not supported" },
		{ "RemoveStaleVirtiofsShareMounts", "not supported" },
	};

	skip_unless_possible();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		must_fail(rows[i][1], rows[i][0], "{}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copy_in_pieces),
		cmocka_unit_test(test_copy_of_links_and_folders),
		LIFE(test_copy_stays_below_its_root),
		cmocka_unit_test(test_policies_that_are_none),
		cmocka_unit_test(test_patterns),
		LIFE(test_metrics_and_diagnostics),
		LIFE(test_update_of_ephemeral_mounts),
		LIFE(test_refused_by_name),
		cmocka_unit_test(test_policy_denies_the_rest),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
