/* What the programs that test containers share: an agent over a socket pair, with its own handlers,
 * that runs real containers on this machine. Needs root and busybox-static; elsewhere every test
 * says why it is skipped. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/boot.h"
#include "agent/cgroup.h"
#include "agent/console.h"
#include "agent/disk_calls.h"
#include "agent/reaper.h"
#include "agent/rpc.h"
#include "agent/sandbox.h"
#include "agent/scratch.h"
#include "base/file.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "proto/agent.pb-c.h"
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
	char *cgroup; /* NULL where no cgroup v2 is mounted */
};

static struct fixture fixture;
static const char *skip_reason;

/* ---------------------------------------------------------------- calls */

/* The answer, or NULL and *ret_err. */
static inline ProtobufCMessage *call_service(const ProtobufCServiceDescriptor *service,
					     const char *method, const ProtobufCMessage *request,
					     struct error *err)
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

static inline int try_message(const char *method, const ProtobufCMessage *request,
			      struct error *err)
{
	ProtobufCMessage *response = call_service(&grpc__agent_service__descriptor, method, request,
						  err);

	if (!response)
		return -1;
	protobuf_c_message_free_unpacked(response, NULL);
	return 0;
}

static inline ProtobufCMessage *request_from_json(const char *method, const char *text)
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
static inline int try_json(const char *method, struct error *err, const char *text)
{
	ProtobufCMessage *request = request_from_json(method, text);
	int r = try_message(method, request, err);

	protobuf_c_message_free_unpacked(request, NULL);
	return r;
}

static inline void must(const char *method, const char *fmt, ...) _printf_(2, 3);
static inline void must(const char *method, const char *fmt, ...)
{
	_cleanup_(error_done) struct error err = {};
	va_list args;

	va_start(args, fmt);
	_cleanup_free_ char *text = xvasprintf(fmt, args);
	va_end(args);
	if (try_json(method, &err, text) < 0)
		fail_msg("%s: %s", method, error_message(&err));
}

static inline void must_fail(const char *sentence, const char *method, const char *fmt, ...)
	_printf_(3, 4);
static inline void must_fail(const char *sentence, const char *method, const char *fmt, ...)
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

static inline int wait_for(const char *id, const char *exec_id)
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
static inline bool read_once(const char *method, const char *id, const char *exec_id,
			     struct strbuf *to)
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

static inline char *read_all(const char *method, const char *id, const char *exec_id)
{
	struct strbuf text = {};

	while (read_once(method, id, exec_id, &text))
		;
	strbuf_adds(&text, "");
	return strbuf_steal(&text);
}

static inline void write_all(const char *id, const char *exec_id, const void *data, size_t len)
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

static inline char *spec_json(const char *id, const char *process, const char *root,
			      const char *mounts)
{
	return xasprintf(spec_format, id, process, fixture.rootfs, root, mounts);
}

static inline void create(const char *id, const char *process)
{
	_cleanup_free_ char *json = spec_json(id, process, "", "");

	must("CreateContainer", "%s", json);
}

/* Runs a shell line to its end, checks status, gives its output. */
static inline char *run_shell(const char *members, const char *root, const char *mounts,
			      const char *line, int status)
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

static inline void expect_shell(const char *line, const char *expected)
{
	_cleanup_free_ char *out = run_shell("", "", "", line, 0);

	assert_string_equal(out, expected);
}

/* ---------------------------------------------------------------- fixture */

static inline void make_rootfs(void)
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
	_cleanup_free_ char *group = path_join(fixture.rootfs, "etc/group");
	static const char groups[] = "root:x:0:\nwheel:x:10:root,kiln\nmore:x:11:kiln\n";
	assert_int_equal(file_write_atomic(group, groups, strlen(groups), 0644, &err), 0);
}

/* A group of this process's own is where the agent finds the root of all: two that run at once do
 * not meet in a container's name. */
static inline void own_cgroup_root(void)
{
	const char *root = cgroup_root();

	if (!root)
		return;
	fixture.cgroup = path_join(root, strrchr(fixture.folder, '/') + 1);
	assert_int_equal(mkdir(fixture.cgroup, 0755), 0);
	assert_int_equal(mount(fixture.cgroup, root, NULL, MS_BIND, NULL), 0);
}

/* 0, or -1 where something is left in it. */
static inline int remove_cgroup_root(void)
{
	if (!fixture.cgroup)
		return 0;
	int r = umount2(cgroup_root(), MNT_DETACH);
	if (r == 0)
		r = rmdir(fixture.cgroup);
	if (r < 0)
		fprintf(stderr, "%s is left: %s\n", fixture.cgroup, strerror(errno));
	free(fixture.cgroup);
	return r;
}

static inline void on_reaped(void *userdata)
{
	sandbox_step(((struct agent *)userdata)->sandbox);
}

static inline int group_setup(void **state _unused_)
{
	struct agent *agent = &fixture.agent;
	const struct ttrpc_server_options options = { .userdata = agent,
						      .on_call = rpc_is_allowed };
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
	log_init(program_invocation_short_name, STDERR_FILENO, LOG_LEVEL_WARNING, LOG_FORMAT_TEXT);
	strcpy(fixture.folder, "/tmp/kiln-agent-test.XXXXXX");
	assert_non_null(mkdtemp(fixture.folder));
	fixture.rootfs = path_join(fixture.folder, "rootfs");
	make_rootfs();
	own_cgroup_root();
	agent->loop = loop_new();
	agent->reaper = reaper_new(agent->loop, on_reaped, agent);
	agent->server = ttrpc_server_new(agent->loop, &options);
	agent->scratch = scratch_new(agent->loop);
	agent->disks = disk_calls_new(agent->loop);
	agent->sandbox = sandbox_new(agent);
	agent->console = console_new(agent, true);
	rpc_register(agent);
	assert_int_equal(socket_pair(pair), 0);
	assert_int_equal(ttrpc_server_serve(agent->server, pair[0], false, &conn), 0);
	fixture.client = ttrpc_client_new(agent->loop, pair[1], &(struct ttrpc_client_options){});
	return 0;
}

static inline int group_teardown(void **state _unused_)
{
	struct agent *agent = &fixture.agent;
	_cleanup_(error_done) struct error err = {};

	if (skip_reason)
		return 0;
	ttrpc_client_free(fixture.client);
	ttrpc_server_free(agent->server);
	sandbox_free(agent->sandbox);
	console_free(agent->console);
	scratch_free(agent->scratch);
	disk_calls_free(agent->disks);
	reaper_free(agent->reaper);
	loop_free(agent->loop);
	int r = path_remove(fixture.folder, &err);
	if (r < 0)
		fprintf(stderr, "%s\n", error_message(&err));
	free(fixture.rootfs);
	return remove_cgroup_root() < 0 ? -1 : r;
}

static inline int setup(void **state _unused_)
{
	if (!skip_reason)
		must("CreateSandbox", "{\"hostname\": \"box\", \"sandbox_id\": \"box\"}");
	return 0;
}

static inline int teardown(void **state _unused_)
{
	if (!skip_reason)
		must("DestroySandbox", "{}");
	return 0;
}

static inline void skip_unless_possible(void)
{
	if (skip_reason) {
		print_message("skipped: %s\n", skip_reason);
		skip();
	}
}

#define LIFE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
