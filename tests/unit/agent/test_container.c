/* Real containers on this machine, by the agent's own handlers over a socket pair. Needs root
 * and busybox-static; elsewhere every test says why it is skipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/boot.h"
#include "agent/cgroup.h"
#include "agent/reaper.h"
#include "agent/rpc.h"
#include "agent/sandbox.h"
#include "base/file.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "proto/agent.pb-c.h"
#include "proto/health.pb-c.h"
#include "proto/pbjson.h"
#include "proto/ttrpc_client.h"

#define BUSYBOX "/bin/busybox"

enum { TIMEOUT_MS = 20000 };

/* What a container needs to be like one of containerd's; %s: process members, root members. */
static const char spec_format[] =
	"{\"container_id\": \"%s\", \"OCI\": {"
	"\"process\": {\"cwd\": \"/\","
	" \"env\": [\"PATH=/bin\", \"WHO=kiln\"], %s},"
	"\"root\": {\"path\": \"%s\"%s},"
	"\"hostname\": \"inside\","
	"\"mounts\": ["
	"{\"destination\": \"/proc\", \"type\": \"proc\", \"source\": \"proc\","
	" \"options\": [\"nosuid\", \"noexec\", \"nodev\"]},"
	"{\"destination\": \"/dev\", \"type\": \"tmpfs\", \"source\": \"tmpfs\","
	" \"options\": [\"nosuid\", \"strictatime\", \"mode=755\", \"size=65536k\"]},"
	"{\"destination\": \"/dev/pts\", \"type\": \"devpts\", \"source\": \"devpts\","
	" \"options\": [\"nosuid\", \"noexec\", \"newinstance\", \"ptmxmode=0666\","
	" \"mode=0620\", \"gid=5\"]},"
	"{\"destination\": \"/dev/shm\", \"type\": \"tmpfs\", \"source\": \"shm\","
	" \"options\": [\"nosuid\", \"noexec\", \"nodev\", \"mode=1777\", \"size=65536k\"]},"
	"{\"destination\": \"/dev/mqueue\", \"type\": \"mqueue\", \"source\": \"mqueue\","
	" \"options\": [\"nosuid\", \"noexec\", \"nodev\"]},"
	"{\"destination\": \"/sys\", \"type\": \"sysfs\", \"source\": \"sysfs\","
	" \"options\": [\"nosuid\", \"noexec\", \"nodev\", \"ro\"]},"
	"%s"
	"{\"destination\": \"/run\", \"type\": \"tmpfs\", \"source\": \"tmpfs\","
	" \"options\": [\"nosuid\", \"mode=755\"]}],"
	"\"linux\": {\"namespaces\": [{\"type\": \"pid\"}, {\"type\": \"ipc\"},"
	" {\"type\": \"uts\"}, {\"type\": \"mount\"}, {\"type\": \"network\"},"
	" {\"type\": \"cgroup\"}],"
	"\"maskedPaths\": [\"/proc/uptime\", \"/proc/fs\", \"/sys/firmware\", \"/proc/scsi\","
	" \"/proc/nosuch\"],"
	"\"readonlyPaths\": [\"/proc/sys\", \"/proc/bus\"]}}}";

struct fixture {
	struct agent agent;
	struct ttrpc_client *client;
	char folder[64];
	char *rootfs;
};

static struct fixture fixture;
static const char *skip_reason;

/* ---------------------------------------------------------------- calls */

/* The answer, or NULL and *ret_err. */
static ProtobufCMessage *call_service(const ProtobufCServiceDescriptor *service, const char *method,
				      const ProtobufCMessage *request, struct error *err)
{
	const struct ttrpc_call_options options = {
		.service = service,
		.method = method,
		.request = request,
		.timeout_ms = TIMEOUT_MS,
	};
	ProtobufCMessage *response = NULL;

	if (ttrpc_client_call_wait(fixture.client, fixture.agent.loop, &options, &response, NULL,
				   NULL, err) < 0)
		return NULL;
	return response;
}

static int try_message(const char *method, const ProtobufCMessage *request, struct error *err)
{
	ProtobufCMessage *response = call_service(&grpc__agent_service__descriptor, method, request,
						  err);

	if (!response)
		return -1;
	protobuf_c_message_free_unpacked(response, NULL);
	return 0;
}

static ProtobufCMessage *request_from_json(const char *method, const char *text)
{
	const ProtobufCMethodDescriptor *descriptor =
		protobuf_c_service_descriptor_get_method_by_name(&grpc__agent_service__descriptor,
								 method);
	_cleanup_(error_done) struct error err = {};
	json_error_t json_error;
	json_t *json = json_loads(text, 0, &json_error);
	ProtobufCMessage *request = NULL;

	if (!json)
		fail_msg("%s: %s", json_error.text, text);
	if (pbjson_to_message(descriptor->input, json, PBJSON_STRICT, &request, &err) < 0)
		fail_msg("%s", error_message(&err));
	json_decref(json);
	return request;
}

/* 0, or -1 and the sentence in err. */
static int try_json(const char *method, struct error *err, const char *text)
{
	ProtobufCMessage *request = request_from_json(method, text);
	int r = try_message(method, request, err);

	protobuf_c_message_free_unpacked(request, NULL);
	return r;
}

static void must(const char *method, const char *fmt, ...) _printf_(2, 3);
static void must(const char *method, const char *fmt, ...)
{
	_cleanup_(error_done) struct error err = {};
	va_list args;

	va_start(args, fmt);
	_cleanup_free_ char *text = xvasprintf(fmt, args);
	va_end(args);
	if (try_json(method, &err, text) < 0)
		fail_msg("%s: %s", method, error_message(&err));
}

static void must_fail(const char *sentence, const char *method, const char *fmt, ...)
	_printf_(3, 4);
static void must_fail(const char *sentence, const char *method, const char *fmt, ...)
{
	_cleanup_(error_done) struct error err = {};
	va_list args;

	va_start(args, fmt);
	_cleanup_free_ char *text = xvasprintf(fmt, args);
	va_end(args);
	if (try_json(method, &err, text) == 0)
		fail_msg("%s succeeded, but \"%s\" was expected", method, sentence);
	if (!strstr(error_message(&err), sentence))
		fail_msg("%s: got \"%s\", not \"%s\"", method, error_message(&err), sentence);
}

static int wait_for(const char *id, const char *exec_id)
{
	Grpc__WaitProcessRequest request = GRPC__WAIT_PROCESS_REQUEST__INIT;
	_cleanup_(error_done) struct error err = {};

	request.container_id = (char *)id;
	request.exec_id = (char *)exec_id;
	ProtobufCMessage *response = call_service(&grpc__agent_service__descriptor, "WaitProcess",
						  &request.base, &err);
	if (!response)
		fail_msg("WaitProcess: %s", error_message(&err));
	assert_non_null(response);
	int status = ((Grpc__WaitProcessResponse *)response)->status;
	protobuf_c_message_free_unpacked(response, NULL);
	return status;
}

/* One read; false at the end of output. */
static bool read_once(const char *method, const char *id, const char *exec_id, struct strbuf *to)
{
	Grpc__ReadStreamRequest request = GRPC__READ_STREAM_REQUEST__INIT;
	_cleanup_(error_done) struct error err = {};

	request.container_id = (char *)id;
	request.exec_id = (char *)exec_id;
	request.len = 1 << 20;
	ProtobufCMessage *response = call_service(&grpc__agent_service__descriptor, method,
						  &request.base, &err);
	if (!response)
		fail_msg("%s: %s", method, error_message(&err));
	const ProtobufCBinaryData *data = &((Grpc__ReadStreamResponse *)response)->data;
	bool more = data->len > 0;
	strbuf_add(to, data->data, data->len);
	protobuf_c_message_free_unpacked(response, NULL);
	return more;
}

static char *read_all(const char *method, const char *id, const char *exec_id)
{
	struct strbuf text = {};

	while (read_once(method, id, exec_id, &text))
		;
	strbuf_adds(&text, "");
	return strbuf_steal(&text);
}

static void write_all(const char *id, const char *exec_id, const void *data, size_t len)
{
	Grpc__WriteStreamRequest request = GRPC__WRITE_STREAM_REQUEST__INIT;
	_cleanup_(error_done) struct error err = {};

	request.container_id = (char *)id;
	request.exec_id = (char *)exec_id;
	request.data.data = (uint8_t *)data;
	request.data.len = len;
	if (try_message("WriteStdin", &request.base, &err) < 0)
		fail_msg("WriteStdin: %s", error_message(&err));
}

/* ---------------------------------------------------------------- containers */

static char *spec_json(const char *id, const char *process, const char *root, const char *mounts)
{
	return xasprintf(spec_format, id, process, fixture.rootfs, root, mounts);
}

static void create(const char *id, const char *process)
{
	_cleanup_free_ char *json = spec_json(id, process, "", "");

	must("CreateContainer", "%s", json);
}

/* Runs a shell line to its end, checks status, gives its output. */
static char *run_shell(const char *members, const char *root, const char *mounts, const char *line,
		       int status)
{
	_cleanup_free_ char *process = xasprintf("\"args\": [\"sh\", \"-c\", \"%s\"]%s", line,
						 members);
	_cleanup_free_ char *json = spec_json("shell", process, root, mounts);

	must("CreateContainer", "%s", json);
	must("StartContainer", "{\"container_id\": \"shell\"}");
	char *out = read_all("ReadStdout", "shell", "");
	_cleanup_free_ char *errout = read_all("ReadStderr", "shell", "");
	int got = wait_for("shell", "");
	if (got != status)
		fail_msg("status %d, not %d: %s%s", got, status, out, errout);
	must("RemoveContainer", "{\"container_id\": \"shell\"}");
	return out;
}

static void expect_shell(const char *line, const char *expected)
{
	_cleanup_free_ char *out = run_shell("", "", "", line, 0);

	assert_string_equal(out, expected);
}

/* ---------------------------------------------------------------- fixture */

static void make_rootfs(void)
{
	static const char *const folders[] = { "bin", "etc", "proc", "sys", "dev", "run", "tmp" };
	static const char *const applets[] = { "sh",      "echo", "cat",      "sleep", "id",
					       "ls",      "stat", "stty",     "tty",   "kill",
					       "true",    "head", "wc",       "grep",  "pwd",
					       "touch",   "env",  "hostname", "yes",   "dd",
					       "readlink" };
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *program = NULL;
	size_t len;

	for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
		_cleanup_free_ char *path = path_join(fixture.rootfs, folders[i]);
		assert_int_equal(dir_make(path, 0755, &err), 0);
	}
	assert_int_equal(file_read(BUSYBOX, 16 << 20, &program, &len, &err), 0);
	_cleanup_free_ char *busybox = path_join(fixture.rootfs, "bin/busybox");
	assert_int_equal(file_write_atomic(busybox, program, len, 0755, &err), 0);
	for (size_t i = 0; i < ARRAY_SIZE(applets); i++) {
		_cleanup_free_ char *path = xasprintf("%s/bin/%s", fixture.rootfs, applets[i]);
		assert_int_equal(symlink("busybox", path), 0);
	}
	_cleanup_free_ char *passwd = path_join(fixture.rootfs, "etc/passwd");
	static const char users[] = "root:x:0:0::/root:/bin/sh\nkiln:x:1000:1000::/home/kiln:\n";
	assert_int_equal(file_write_atomic(passwd, users, strlen(users), 0644, &err), 0);
}

static void on_reaped(void *userdata)
{
	sandbox_step(((struct agent *)userdata)->sandbox);
}

static int group_setup(void **state _unused_)
{
	struct agent *agent = &fixture.agent;
	const struct ttrpc_server_options options = { .userdata = agent };
	_cleanup_(error_done) struct error err = {};
	struct ttrpc_conn *conn;
	int pair[2];

	if (geteuid() != 0)
		skip_reason = "root is needed";
	else if (access(BUSYBOX, X_OK) < 0)
		skip_reason = BUSYBOX " is needed (busybox-static)";
	else if (boot_outside_guest(&err) < 0)
		skip_reason = "this machine allows no namespaces";
	if (skip_reason)
		return 0;
	log_init("test_container", STDERR_FILENO, LOG_LEVEL_WARNING, LOG_FORMAT_TEXT);
	strcpy(fixture.folder, "/tmp/kiln-agent-test.XXXXXX");
	assert_non_null(mkdtemp(fixture.folder));
	fixture.rootfs = path_join(fixture.folder, "rootfs");
	make_rootfs();
	agent->loop = loop_new();
	agent->reaper = reaper_new(agent->loop, on_reaped, agent);
	agent->server = ttrpc_server_new(agent->loop, &options);
	agent->sandbox = sandbox_new(agent);
	rpc_register(agent);
	assert_int_equal(socket_pair(pair), 0);
	assert_int_equal(ttrpc_server_serve(agent->server, pair[0], false, &conn), 0);
	fixture.client = ttrpc_client_new(agent->loop, pair[1], &(struct ttrpc_client_options){});
	return 0;
}

static int group_teardown(void **state _unused_)
{
	struct agent *agent = &fixture.agent;
	_cleanup_(error_done) struct error err = {};

	if (skip_reason)
		return 0;
	ttrpc_client_free(fixture.client);
	ttrpc_server_free(agent->server);
	sandbox_free(agent->sandbox);
	reaper_free(agent->reaper);
	loop_free(agent->loop);
	int r = path_remove(fixture.folder, &err);
	if (r < 0)
		fprintf(stderr, "%s\n", error_message(&err));
	free(fixture.rootfs);
	return r;
}

static int setup(void **state _unused_)
{
	if (!skip_reason)
		must("CreateSandbox", "{\"hostname\": \"box\", \"sandbox_id\": \"box\"}");
	return 0;
}

static int teardown(void **state _unused_)
{
	if (!skip_reason)
		must("DestroySandbox", "{}");
	return 0;
}

static void skip_unless_possible(void)
{
	if (skip_reason) {
		print_message("skipped: %s\n", skip_reason);
		skip();
	}
}

/* ---------------------------------------------------------------- tests */

static void test_health(void **state _unused_)
{
	Grpc__CheckRequest request = GRPC__CHECK_REQUEST__INIT;
	_cleanup_(error_done) struct error err = {};

	skip_unless_possible();
	ProtobufCMessage *check = call_service(&grpc__health__descriptor, "Check", &request.base,
					       &err);
	assert_non_null(check);
	assert_int_equal(((Grpc__HealthCheckResponse *)check)->status,
			 GRPC__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING);
	protobuf_c_message_free_unpacked(check, NULL);
	ProtobufCMessage *version = call_service(&grpc__health__descriptor, "Version",
						 &request.base, &err);
	assert_non_null(version);
	assert_string_equal(((Grpc__VersionCheckResponse *)version)->agent_version, KILN_VERSION);
	protobuf_c_message_free_unpacked(version, NULL);
	must("GetGuestDetails", "{\"mem_block_size\": true}");
	must("ListInterfaces", "{}");
	must("UpdateInterface", "{\"interface\": {\"device\": \"lo\"}}");
	must_fail("no interface \"eth7\"", "UpdateInterface",
		  "{\"interface\": {\"device\": \"eth7\"}}");
	must_fail("not six bytes", "UpdateInterface",
		  "{\"interface\": {\"device\": \"lo\", \"hwAddr\": \"02:00:00:00:00\"}}");
	must_fail("of a group", "UpdateInterface",
		  "{\"interface\": {\"device\": \"lo\", \"hwAddr\": \"01:00:00:00:00:00\"}}");
	must_fail("cannot be set yet", "UpdateInterface",
		  "{\"interface\": {\"device\": \"lo\", \"name\": \"lo1\"}}");
	must("ReseedRandomDev", "{\"data\": \"AAECAwQFBgcICQoLDA0ODw==\"}");
	must_fail("1 to 4096 bytes", "ReseedRandomDev", "{}");
	must_fail("not implemented", "GetMetrics", "{}");
}

static void test_sandbox_is_one(void **state _unused_)
{
	skip_unless_possible();
	must_fail("has a sandbox already: box", "CreateSandbox", "{}");
	must("DestroySandbox", "{}");
	must("DestroySandbox", "{}");
	must_fail("there is no sandbox", "CreateContainer", "{\"container_id\": \"a\"}");
	must_fail("is not /dev/pmemN", "CreateSandbox",
		  "{\"storages\": [{\"driver\": \"nvdimm\", \"source\": \"/dev/sda\", "
		  "\"fstype\": \"erofs\", \"mount_point\": \"/run/x\"}]}");
	must_fail("virtio-fs cannot work", "CreateSandbox",
		  "{\"storages\": [{\"driver\": \"virtio-fs\", \"mount_point\": \"/run/x\"}]}");
	must("CreateSandbox", "{\"hostname\": \"again\"}");
}

static void test_output_and_status(void **state _unused_)
{
	skip_unless_possible();
	create("one", "\"args\": [\"sh\", \"-c\", \"echo out; echo err >&2; exit 7\"]");
	must_fail("exists already", "CreateContainer", "{\"container_id\": \"one\"}");
	must("StartContainer", "{\"container_id\": \"one\"}");
	must_fail("cannot start", "StartContainer", "{\"container_id\": \"one\"}");
	assert_int_equal(wait_for("one", ""), 7);
	assert_int_equal(wait_for("one", "one"), 7);
	_cleanup_free_ char *out = read_all("ReadStdout", "one", "");
	_cleanup_free_ char *errout = read_all("ReadStderr", "one", "one");
	assert_string_equal(out, "out\n");
	assert_string_equal(errout, "err\n");
	must_fail("process already finished", "SignalProcess",
		  "{\"container_id\": \"one\", \"signal\": 15}");
	must("RemoveContainer", "{\"container_id\": \"one\"}");
	must_fail("no container \"one\"", "RemoveContainer", "{\"container_id\": \"one\"}");
}

static void test_world_of_a_container(void **state _unused_)
{
	skip_unless_possible();
	expect_shell("echo $$; hostname; pwd; echo $WHO $HOME", "1\ninside\n/\nkiln /root\n");
	expect_shell("cd /dev; ls null zero full random urandom tty; readlink fd; readlink ptmx",
		     "full\nnull\nrandom\ntty\nurandom\nzero\n/proc/self/fd\npts/ptmx\n");
	expect_shell("head -c 4 /dev/zero | wc -c; echo x > /dev/null", "4\n");
	expect_shell("touch /proc/sys/kernel/x 2>/dev/null || echo no; cat /proc/uptime", "no\n");
	expect_shell("echo 1 > /proc/sys/kernel/dmesg_restrict || echo no", "no\n");
	expect_shell("ls /sys/firmware /proc/fs 2>/dev/null | grep -v : | grep .; true", "");
	expect_shell("echo /proc/[0-9]*", "/proc/1\n");
	expect_shell("ls -l /proc/self/fd | grep -c -e pipe -e socket", "3\n");
	expect_shell("echo to stdout > /dev/stdout", "to stdout\n");
	expect_shell("umask; grep -c . /proc/self/mountinfo > /dev/null; ls /",
		     "0022\nbin\ndev\netc\nproc\nrun\nsys\ntmp\n");
}

static void test_attributes(void **state _unused_)
{
	skip_unless_possible();
	_cleanup_free_ char *user = run_shell(
		", \"user\": {\"uid\": 1000, \"gid\": 1001, \"additionalGids\": [5, 6]},"
		" \"noNewPrivileges\": true, \"cwd\": \"/made/here\"",
		"", "",
		"id -u; id -g; id -G; pwd; echo $HOME; grep -e NoNewPrivs -e CapEff -e CapBnd "
		"/proc/self/status; echo a > /dev/stdout",
		0);
	assert_string_equal(user, "1000\n1001\n1001 5 6\n/made/here\n/home/kiln\n"
				  "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n"
				  "NoNewPrivs:\t1\na\n");
	_cleanup_free_ char *caps = run_shell(
		", \"capabilities\": {\"bounding\": [\"CAP_CHOWN\", \"CAP_KILL\"],"
		" \"permitted\": [\"CAP_CHOWN\"], \"effective\": [\"CAP_CHOWN\"],"
		" \"inheritable\": [\"CAP_CHOWN\"], \"ambient\": [\"CAP_CHOWN\"]},"
		" \"user\": {\"uid\": 1000, \"gid\": 1000}",
		"", "", "grep Cap /proc/self/status", 0);
	assert_string_equal(caps, "CapInh:\t0000000000000001\nCapPrm:\t0000000000000001\n"
				  "CapEff:\t0000000000000001\nCapBnd:\t0000000000000021\n"
				  "CapAmb:\t0000000000000001\n");
	_cleanup_free_ char *limits = run_shell(
		", \"rlimits\": [{\"type\": \"RLIMIT_NOFILE\", \"soft\": 77, \"hard\": 99}],"
		" \"oomScoreAdj\": 500",
		"", "", "ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj", 0);
	assert_string_equal(limits, "77\n99\n500\n");
}

static void test_mounts(void **state _unused_)
{
	skip_unless_possible();
	_cleanup_free_ char *source = path_join(fixture.folder, "volume");
	_cleanup_free_ char *file = path_join(source, "file");
	_cleanup_(error_done) struct error err = {};
	assert_int_equal(dir_make(source, 0755, &err), 0);
	assert_int_equal(file_write_atomic(file, "content\n", 8, 0644, &err), 0);
	_cleanup_free_ char *mounts = xasprintf(
		"{\"destination\": \"/volume\", \"type\": \"bind\", \"source\": \"%s\","
		" \"options\": [\"rbind\", \"ro\"]},"
		"{\"destination\": \"/etc/file\", \"type\": \"bind\", \"source\": \"%s\","
		" \"options\": [\"bind\", \"rw\"]},",
		source, file);
	_cleanup_free_ char *out = run_shell(
		"", ", \"readonly\": true", mounts,
		"cat /volume/file /etc/file; touch /volume/x 2>/dev/null || echo ro; "
		"touch /x 2>/dev/null || echo ro; echo more >> /etc/file; touch /run/x && echo rw",
		0);
	assert_string_equal(out, "content\ncontent\nro\nro\nrw\n");
	_cleanup_free_ char *now = NULL;
	assert_int_equal(file_read(file, 100, &now, NULL, &err), 0);
	assert_string_equal(now, "content\nmore\n");
}

/* A root file system whose folders are links out of it. */
static void test_hostile_rootfs(void **state _unused_)
{
	skip_unless_possible();
	_cleanup_free_ char *link = path_join(fixture.rootfs, "escape");
	_cleanup_free_ char *outside = path_join(fixture.folder, "outside");
	_cleanup_free_ char *made = path_join(outside, "made");
	_cleanup_(error_done) struct error err = {};

	assert_int_equal(dir_make(outside, 0755, &err), 0);
	assert_int_equal(symlink(outside, link), 0);
	free(run_shell(
		"", "",
		"{\"destination\": \"/escape/made\", \"type\": \"tmpfs\", \"source\": \"tmpfs\"},",
		"true", 0));
	_cleanup_free_ char *inside = xasprintf("%s%s", fixture.rootfs, made);
	assert_false(path_exists(made));
	assert_true(path_exists(inside));
	assert_int_equal(unlink(link), 0);
}

static void test_errors_of_create(void **state _unused_)
{
	skip_unless_possible();
	for (int i = 0; i < 2; i++) {
		_cleanup_free_ char *nosuch = spec_json("bad", "\"args\": [\"nosuch\"]", "", "");
		must_fail("unable to start container process: exec: \"nosuch\": executable file "
			  "not found in $PATH",
			  "CreateContainer", "%s", nosuch);
	}
	_cleanup_free_ char *path = spec_json("bad", "\"args\": [\"/bin/nosuch\"]", "", "");
	must_fail("exec: \"/bin/nosuch\": stat /bin/nosuch: No such file or directory",
		  "CreateContainer", "%s", path);
	_cleanup_free_ char *mount = spec_json(
		"bad", "\"args\": [\"true\"]", "",
		"{\"destination\": \"/x\", \"type\": \"bind\", \"source\": \"/nosuch\"},");
	must_fail("error mounting \"/nosuch\" to rootfs at \"/x\"", "CreateContainer", "%s", mount);
	_cleanup_free_ char *option = spec_json(
		"bad", "\"args\": [\"true\"]", "",
		"{\"destination\": \"/x\", \"type\": \"tmpfs\", \"source\": \"x\","
		" \"options\": [\"nonsense=1\"]},");
	must_fail("nonsense", "CreateContainer", "%s", option);
	must_fail("cannot open the root file system /nosuch", "CreateContainer",
		  "{\"container_id\": \"bad\", \"OCI\": {\"process\": {\"args\": [\"x\"]},"
		  " \"root\": {\"path\": \"/nosuch\"}}}");
	must_fail("not valid", "CreateContainer", "{\"container_id\": \"../x\"}");
	must_fail("no container \"bad\"", "StartContainer", "{\"container_id\": \"bad\"}");
	if (cgroup_root()) {
		_cleanup_free_ char *left = path_join(cgroup_root(), "bad");
		assert_false(path_exists(left));
	}
}

static void test_start_of_no_program(void **state _unused_)
{
	skip_unless_possible();
	_cleanup_free_ char *file = path_join(fixture.rootfs, "bin/garbage");
	_cleanup_(error_done) struct error err = {};

	assert_int_equal(file_write_atomic(file, "\1\2\3\4", 4, 0755, &err), 0);
	create("one", "\"args\": [\"garbage\"]");
	must_fail("exec /bin/garbage: Exec format error", "StartContainer",
		  "{\"container_id\": \"one\"}");
	assert_int_equal(wait_for("one", ""), 127);
	must("RemoveContainer", "{\"container_id\": \"one\"}");
	assert_int_equal(unlink(file), 0);
}

static void test_signals(void **state _unused_)
{
	skip_unless_possible();
	create("one", "\"args\": [\"sh\", \"-c\", \"trap 'exit 3' TERM; echo up; while :; do "
		      "sleep 0.1; done\"]");
	must("StartContainer", "{\"container_id\": \"one\"}");
	struct strbuf up = {};
	assert_true(read_once("ReadStdout", "one", "", &up));
	strbuf_done(&up);
	must_fail("no signal", "SignalProcess", "{\"container_id\": \"one\", \"signal\": 65}");
	must("SignalProcess", "{\"container_id\": \"one\", \"signal\": 15}");
	assert_int_equal(wait_for("one", ""), 3);
	create("two", "\"args\": [\"sleep\", \"1000\"]");
	must("StartContainer", "{\"container_id\": \"two\"}");
	must("SignalProcess", "{\"container_id\": \"two\", \"signal\": 9}");
	assert_int_equal(wait_for("two", ""), 137);
}

static void test_exec(void **state _unused_)
{
	skip_unless_possible();
	create("one", "\"args\": [\"sleep\", \"1000\"]");
	must("StartContainer", "{\"container_id\": \"one\"}");
	must("ExecProcess",
	     "{\"container_id\": \"one\", \"exec_id\": \"e\", \"process\": {\"args\": [\"sh\","
	     " \"-c\", \"hostname; echo $$ $HOME; cat /proc/1/comm; exit 5\"],"
	     " \"env\": [\"PATH=/bin\"]}}");
	_cleanup_free_ char *out = read_all("ReadStdout", "one", "e");
	assert_non_null(strstr(out, "inside\n"));
	assert_non_null(strstr(out, " /root\nsleep\n"));
	assert_int_equal(wait_for("one", "e"), 5);
	/* The id is free again, and failed ones leave nothing. */
	for (int i = 0; i < 2; i++)
		must_fail("exec failed: unable to start container process: exec: \"nosuch\"",
			  "ExecProcess",
			  "{\"container_id\": \"one\", \"exec_id\": \"e\", \"process\":"
			  " {\"args\": [\"nosuch\"], \"env\": [\"PATH=/bin\"]}}");
	must_fail("chdir to cwd (\"/nosuch\")", "ExecProcess",
		  "{\"container_id\": \"one\", \"exec_id\": \"e\", \"process\":"
		  " {\"args\": [\"/bin/true\"], \"cwd\": \"/nosuch\"}}");
	must_fail("no process \"e\"", "WaitProcess",
		  "{\"container_id\": \"one\", \"exec_id\": \"e\"}");
	must_fail("exists already", "ExecProcess",
		  "{\"container_id\": \"one\", \"exec_id\": \"one\", \"process\":"
		  " {\"args\": [\"/bin/true\"]}}");
	must("RemoveContainer", "{\"container_id\": \"one\"}");
}

/* An exec dies with the container's first process, and its status can be had. */
static void test_exec_dies_with_init(void **state _unused_)
{
	skip_unless_possible();
	create("one", "\"args\": [\"sleep\", \"1000\"]");
	must("StartContainer", "{\"container_id\": \"one\"}");
	must("ExecProcess", "{\"container_id\": \"one\", \"exec_id\": \"e\", \"process\":"
			    " {\"args\": [\"/bin/sleep\", \"1000\"]}}");
	must("SignalProcess", "{\"container_id\": \"one\", \"signal\": 9}");
	assert_int_equal(wait_for("one", "e"), 137);
	assert_int_equal(wait_for("one", ""), 137);
	must_fail("cannot exec in a container in the stopped state", "ExecProcess",
		  "{\"container_id\": \"one\", \"exec_id\": \"f\", \"process\":"
		  " {\"args\": [\"/bin/true\"]}}");
}

static void test_stdin(void **state _unused_)
{
	enum { BLOCK = 48 * 1024, BLOCKS = 40 };
	_cleanup_free_ uint8_t *block = xcalloc(1, BLOCK);
	struct strbuf echoed = {};

	skip_unless_possible();
	create("one", "\"args\": [\"cat\"]");
	must("StartContainer", "{\"container_id\": \"one\"}");
	for (size_t i = 0; i < BLOCKS; i++) {
		memset(block, 'a' + (int)(i % 26), BLOCK);
		write_all("one", "", block, BLOCK);
		while (echoed.len < (i + 1) * BLOCK)
			assert_true(read_once("ReadStdout", "one", "", &echoed));
		assert_memory_equal(echoed.text + i * BLOCK, block, BLOCK);
	}
	must("CloseStdin", "{\"container_id\": \"one\"}");
	must_fail("stdin is closed", "WriteStdin",
		  "{\"container_id\": \"one\", \"data\": \"YQ==\"}");
	assert_false(read_once("ReadStdout", "one", "", &echoed));
	assert_int_equal(wait_for("one", ""), 0);
	strbuf_done(&echoed);
}

/* A read that nobody waits for any more takes no bytes with it. */
static void test_read_given_up(void **state _unused_)
{
	Grpc__ReadStreamRequest request = GRPC__READ_STREAM_REQUEST__INIT;
	struct ttrpc_call_options options = {
		.service = &grpc__agent_service__descriptor,
		.method = "ReadStdout",
		.request = &request.base,
		.timeout_ms = 50,
	};
	_cleanup_(error_done) struct error err = {};
	ProtobufCMessage *response = NULL;
	struct strbuf out = {};

	skip_unless_possible();
	create("one", "\"args\": [\"cat\"]");
	must("StartContainer", "{\"container_id\": \"one\"}");
	must_fail("0 bytes", "ReadStdout", "{\"container_id\": \"one\"}");
	request.container_id = (char *)"one";
	request.len = 10;
	assert_int_equal(ttrpc_client_call_wait(fixture.client, fixture.agent.loop, &options,
						&response, NULL, NULL, &err),
			 -ETIMEDOUT);
	write_all("one", "", "kept", 4);
	assert_true(read_once("ReadStdout", "one", "", &out));
	assert_string_equal(out.text, "kept");
	strbuf_done(&out);
}

/* More output than a pipe holds: the process waits for its reader, and nothing is lost. */
static void test_large_output(void **state _unused_)
{
	skip_unless_possible();
	create("one", "\"args\": [\"dd\", \"if=/dev/zero\", \"bs=64k\", \"count=160\"]");
	must("StartContainer", "{\"container_id\": \"one\"}");
	struct strbuf out = {};
	while (read_once("ReadStdout", "one", "", &out))
		;
	assert_int_equal(out.len, 160 * 65536);
	strbuf_done(&out);
	assert_int_equal(wait_for("one", ""), 0);
}

static void test_terminal(void **state _unused_)
{
	skip_unless_possible();
	create("one", "\"terminal\": true, \"consoleSize\": {\"height\": 20, \"width\": 70},"
		      " \"args\": [\"sh\", \"-c\", \"tty; stty size; test -c /dev/console && echo "
		      "console; read x; stty size; echo bye\"]");
	must("StartContainer", "{\"container_id\": \"one\"}");
	struct strbuf out = {};
	while (!strstr(strbuf_text(&out), "console\r\n"))
		assert_true(read_once("ReadStdout", "one", "", &out));
	assert_string_equal(out.text, "/dev/pts/0\r\n20 70\r\nconsole\r\n");
	must("TtyWinResize", "{\"container_id\": \"one\", \"row\": 30, \"column\": 90}");
	write_all("one", "", "\n", 1);
	while (read_once("ReadStdout", "one", "", &out))
		;
	assert_non_null(strstr(out.text, "30 90\r\nbye\r\n"));
	assert_int_equal(wait_for("one", ""), 0);
	strbuf_done(&out);
	create("two", "\"args\": [\"sleep\", \"1000\"]");
	must_fail("no terminal", "TtyWinResize", "{\"container_id\": \"two\", \"row\": 1}");
	must("StartContainer", "{\"container_id\": \"two\"}");
	must("ExecProcess", "{\"container_id\": \"two\", \"exec_id\": \"t\", \"process\":"
			    " {\"terminal\": true, \"args\": [\"/bin/tty\"]}}");
	_cleanup_free_ char *tty = read_all("ReadStdout", "two", "t");
	assert_string_equal(tty, "/dev/pts/0\r\n");
}

/* Containers in every state, taken away at once. */
static void test_destroy_with_containers(void **state _unused_)
{
	skip_unless_possible();
	create("created", "\"args\": [\"sleep\", \"1000\"]");
	create("running", "\"args\": [\"sh\", \"-c\", \"trap '' TERM INT HUP; sleep 1000 & sleep "
			  "1000\"]");
	must("StartContainer", "{\"container_id\": \"running\"}");
	create("stopped", "\"args\": [\"true\"]");
	must("StartContainer", "{\"container_id\": \"stopped\"}");
	assert_int_equal(wait_for("stopped", ""), 0);
	must("DestroySandbox", "{}");
	must_fail("no container", "WaitProcess", "{\"container_id\": \"created\"}");
	must("CreateSandbox", "{}");
	create("created", "\"args\": [\"true\"]");
}

static void test_remove_running(void **state _unused_)
{
	skip_unless_possible();
	create("one", "\"args\": [\"sleep\", \"1000\"]");
	must("StartContainer", "{\"container_id\": \"one\"}");
	must("RemoveContainer", "{\"container_id\": \"one\", \"timeout\": 5}");
	create("one", "\"args\": [\"true\"]");
	must("RemoveContainer", "{\"container_id\": \"one\"}");
}

static void test_storages(void **state _unused_)
{
	skip_unless_possible();
	_cleanup_free_ char *point = path_join(fixture.folder, "storage");

	must("DestroySandbox", "{}");
	must("CreateSandbox",
	     "{\"storages\": [{\"driver\": \"ephemeral\", \"source\": \"tmpfs\","
	     " \"fstype\": \"tmpfs\", \"options\": [\"size=1m\"], \"mount_point\": \"%s\"}]}",
	     point);
	_cleanup_free_ char *mounts = xasprintf(
		"{\"destination\": \"/s\", \"type\": \"bind\", \"source\": \"%s\"},", point);
	_cleanup_free_ char *out = run_shell("", "", mounts,
					     "grep -c '/s .* tmpfs' /proc/self/mountinfo", 0);
	assert_string_equal(out, "1\n");
	must("DestroySandbox", "{}");
	must_fail("not supported", "CreateSandbox",
		  "{\"storages\": [{\"driver\": \"blk\", \"mount_point\": \"%s\"}]}", point);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_health, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sandbox_is_one, setup, teardown),
		cmocka_unit_test_setup_teardown(test_output_and_status, setup, teardown),
		cmocka_unit_test_setup_teardown(test_world_of_a_container, setup, teardown),
		cmocka_unit_test_setup_teardown(test_attributes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mounts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile_rootfs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_errors_of_create, setup, teardown),
		cmocka_unit_test_setup_teardown(test_start_of_no_program, setup, teardown),
		cmocka_unit_test_setup_teardown(test_signals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_exec, setup, teardown),
		cmocka_unit_test_setup_teardown(test_exec_dies_with_init, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stdin, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_given_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_large_output, setup, teardown),
		cmocka_unit_test_setup_teardown(test_terminal, setup, teardown),
		cmocka_unit_test_setup_teardown(test_destroy_with_containers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_remove_running, setup, teardown),
		cmocka_unit_test_setup_teardown(test_storages, setup, teardown),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
