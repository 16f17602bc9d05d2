/* A container's disk takes nothing, and so it cannot be unmounted: what the agent answers
 * meanwhile, and afterwards. The disk is a file on a file system that is frozen. Needs loop
 * devices, too. */
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "tests/unit/agent/container_fixture.h"

enum { THAW_MS = 30000 };

static char *host;           /* the file system that is frozen */
static char *device;         /* the disk */
static char *point;          /* where the container has it */
static int rescuer = -EBADF; /* the pipe of who thaws it when that is closed */

struct call {
	bool done;
	int code;
};

static void on_reply(const struct ttrpc_reply *reply, void *userdata)
{
	struct call *call = userdata;

	call->done = true;
	call->code = reply->code;
}

static void begin(const char *method, const char *text, struct call *call)
{
	ProtobufCMessage *request = request_from_json(method, text);
	const struct ttrpc_call_options options = {
		.service = &grpc__agent_service__descriptor,
		.method = method,
		.request = request,
		.on_reply = on_reply,
		.userdata = call,
	};

	*call = (struct call){};
	ttrpc_client_call(fixture.client, &options);
	protobuf_c_message_free_unpacked(request, NULL);
}

static void await(const struct call *call)
{
	assert_true(loop_run_until(fixture.agent.loop, &call->done, TIMEOUT_MS));
	assert_int_equal(call->code, TTRPC_OK);
}

/* ---------------------------------------------------------------- the disk */

static int set_frozen(bool frozen)
{
	_cleanup_close_ int fd = open(host, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return ioctl(fd, frozen ? FIFREEZE : FITHAW, 0);
}

/* Whoever waits for the disk, as an agent that unmounts in its loop, cannot be killed: where the
 * test does not get as far as to thaw(), another process does that. */
static void freeze(void)
{
	int ends[2];
	pid_t pid;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		struct pollfd test = { .fd = ends[0] };

		close(ends[1]);
		poll(&test, 1, THAW_MS);
		_exit(set_frozen(false) < 0);
	}
	close(ends[0]);
	rescuer = ends[1];
	assert_int_equal(set_frozen(true), 0);
}

static void thaw(void)
{
	assert_int_equal(set_frozen(false), 0);
	rescuer = close_fd(rescuer);
}

static bool shell(const char *line)
{
	return system(line) == 0;
}

static int disk_setup(void **state)
{
	int r = group_setup(state);

	if (skip_reason)
		return r;
	_cleanup_free_ char *name = path_join(fixture.folder, "device");
	_cleanup_free_ char *line = xasprintf(
		"cd %s && mkdir host && truncate -s 64M host.img && mkfs.ext4 -q host.img && "
		"mount -o loop host.img host && truncate -s 24M host/disk && "
		"mkfs.ext4 -q host/disk && losetup -f --show host/disk >device",
		fixture.folder);
	host = path_join(fixture.folder, "host");
	point = path_join(fixture.folder, "point");
	if (shell(line) && file_read(name, PATH_MAX, &device, NULL, NULL) == 0)
		device[strcspn(device, "\n")] = '\0';
	else
		skip_reason = "loop devices and mkfs.ext4 are needed";
	return r;
}

static int disk_teardown(void **state)
{
	if (device) {
		_cleanup_free_ char *line = xasprintf("losetup -d %s && umount %s", device, host);
		assert_true(shell(line));
	}
	free(device);
	free(host);
	free(point);
	return group_teardown(state);
}

/* The container "one". Whoever unmounts an ext4 writes to its disk at least that it is unmounted.
 */
static void create_on_disk(void)
{
	_cleanup_free_ char *spec = spec_json("one", "\"args\": [\"sleep\", \"100\"]", "", "");

	must("CreateContainer",
	     "{\"storages\": [{\"driver\": \"blk\", \"fstype\": \"ext4\", \"source\": \"%s\","
	     " \"mount_point\": \"%s\"}], %s",
	     device, point, spec + 1);
	must("StartContainer", "{\"container_id\": \"one\"}");
	freeze();
}

static bool is_mounted(void)
{
	struct stat here, above;

	assert_int_equal(stat(point, &here), 0);
	assert_int_equal(stat(fixture.folder, &above), 0);
	return here.st_dev != above.st_dev;
}

static void await_detachment(void)
{
	bool never = false;

	for (unsigned i = 0; i < TIMEOUT_MS && is_mounted(); i++)
		loop_run_until(fixture.agent.loop, &never, 1);
	assert_false(is_mounted());
}

/* ---------------------------------------------------------------- tests */

static const char remove_one[] = "{\"container_id\": \"one\", \"timeout\": 1}";

static void test_others_are_served(void **state _unused_)
{
	struct call first, second;

	skip_unless_possible();
	create_on_disk();
	begin("RemoveContainer", remove_one, &first);
	await_detachment();
	expect_shell("echo other", "other\n");
	must_fail("container one exists already", "CreateContainer", "{\"container_id\": \"one\"}");
	must_fail("in the removing state", "ExecProcess",
		  "{\"container_id\": \"one\", \"exec_id\": \"e\"}");
	begin("RemoveContainer", remove_one, &second);
	/* Longer than what lives in it is given. */
	assert_false(loop_run_until(fixture.agent.loop, &second.done, 1500));
	assert_false(first.done);
	thaw();
	await(&first);
	await(&second);
	must_fail("no container \"one\"", "StatsContainer", "{\"container_id\": \"one\"}");
}

/* Where another storage is mounted meanwhile, that one stays. */
static void test_a_mount_point_is_free_at_once(void **state _unused_)
{
	struct call first;

	skip_unless_possible();
	create_on_disk();
	begin("RemoveContainer", remove_one, &first);
	await_detachment();
	_cleanup_free_ char *spec = spec_json("two", "\"args\": [\"true\"]", "", "");
	must("CreateContainer",
	     "{\"storages\": [{\"driver\": \"ephemeral\", \"fstype\": \"tmpfs\","
	     " \"source\": \"tmpfs\", \"mount_point\": \"%s\"}], %s",
	     point, spec + 1);
	assert_false(first.done);
	thaw();
	await(&first);
	assert_true(is_mounted());
	must("RemoveContainer", "{\"container_id\": \"two\"}");
	assert_false(is_mounted());
}

static void test_the_sandbox_waits_for_its_end(void **state _unused_)
{
	struct call first, end;

	skip_unless_possible();
	create_on_disk();
	begin("RemoveContainer", remove_one, &first);
	await_detachment();
	begin("DestroySandbox", "{}", &end);
	must("ListInterfaces", "{}");
	assert_false(first.done);
	assert_false(end.done);
	thaw();
	await(&first);
	await(&end);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIFE(test_others_are_served),
		LIFE(test_a_mount_point_is_free_at_once),
		LIFE(test_the_sandbox_waits_for_its_end),
	};

	return cmocka_run_group_tests(tests, disk_setup, disk_teardown);
}
