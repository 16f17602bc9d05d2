/* Disks that are plugged into a real QEMU, whose guest is played by the test: its agent is
 * scripted, and its kernel lets go of a device by the registers of ACPI's PCI hotplug, through
 * qtest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/spawn.h"
#include "base/strv.h"
#include "factory/guest/disks.h"
#include "proto/guest.pb-c.h"
#include "proto/ttrpc_server.h"
#include "shim/disks.h"

#define QEMU "/usr/bin/qemu-system-x86_64"

enum { DEADLINE_MS = 20000, EJECT_MS = 5 };

/* Of the host and a device of it that is to go: hw/acpi/pcihp.c of QEMU, on a q35. */
enum { ACPI_EJECT = 0xcc0 + 8, ACPI_BUS = 0xcc0 + 16 };

struct bench {
	struct loop *loop;
	char *dir;
	pid_t pid;
	int pidfd;
	int qtest;
	struct slots *slots;
	struct ttrpc_client *client;
	struct agent_link *agent;
	struct ttrpc_server *guest;
	struct disks *disks;
	struct loop_timer *eject;
	enum ttrpc_code find_code, leave_code; /* what the agent answers */
	unsigned finds, leaves;
	/* of the last attach */
	bool done;
	int number;
	struct disk *disk;
	char *why;
};

/* ---------------------------------------------------------------- the guest */

static void on_find(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
		    void *userdata)
{
	Kiln__Guest__V1__FindDiskResponse response = KILN__GUEST__V1__FIND_DISK_RESPONSE__INIT;
	struct bench *bench = userdata;

	bench->finds++;
	if (bench->find_code == TTRPC_OK)
		ttrpc_call_reply(call, &response.base);
	else
		ttrpc_call_fail_code(call, bench->find_code, "scripted");
}

static void on_leave(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
		     void *userdata)
{
	Kiln__Guest__V1__LeaveDiskResponse response = KILN__GUEST__V1__LEAVE_DISK_RESPONSE__INIT;
	struct bench *bench = userdata;

	bench->leaves++;
	loop_timer_start(bench->eject, EJECT_MS);
	if (bench->leave_code == TTRPC_OK)
		ttrpc_call_reply(call, &response.base);
	else
		ttrpc_call_fail_code(call, bench->leave_code, "scripted");
}

static const struct ttrpc_method methods[] = { { "FindDisk", on_find }, { "LeaveDisk", on_leave } };
static const struct ttrpc_service service = { &kiln__guest__v1__guest__descriptor, methods,
					      ARRAY_SIZE(methods) };

/* Whatever QEMU wants to have back goes; on which of the first buses the bridge is, is QEMU's
 * affair. */
static void let_go(void *userdata)
{
	struct bench *bench = userdata;
	char answers[4096];

	for (unsigned bus = 0; bus < 2; bus++)
		for (unsigned place = 1; place < 4; place++)
			(void)!dprintf(bench->qtest, "outl 0x%x %u\noutl 0x%x %u\n", ACPI_BUS, bus,
				       ACPI_EJECT, 1U << place);
	while (recv(bench->qtest, answers, sizeof(answers), MSG_DONTWAIT) > 0)
		continue;
	loop_timer_start(bench->eject, EJECT_MS);
}

static void start_guest(struct bench *bench)
{
	const struct ttrpc_server_options options = { .userdata = bench };
	struct ttrpc_conn *conn;
	int pair[2];

	assert_int_equal(socket_pair(pair), 0);
	bench->guest = ttrpc_server_new(bench->loop, &options);
	ttrpc_server_add(bench->guest, &service);
	assert_int_equal(ttrpc_server_serve(bench->guest, pair[0], false, &conn), 0);
	bench->client = ttrpc_client_new(bench->loop, pair[1], NULL);
	bench->agent = agent_link_new(bench->loop, bench->client, NULL, NULL);
	bench->eject = loop_timer_new(bench->loop, let_go, bench);
}

/* ---------------------------------------------------------------- QEMU */

static int start_qemu(struct bench *bench)
{
	static const char *const words[] = {
		QEMU,       "-machine",
		"q35",      "-accel",
		"tcg",      "-nodefaults",
		"-display", "none",
		"-device",  "pcie-pci-bridge,id=" DISKS_BRIDGE ",bus=pcie.0,addr=0xf",
		"-chardev", "socket,id=m,fd=3",
		"-mon",     "chardev=m,mode=control",
		"-chardev", "socket,id=q,fd=4",
		"-object",  "qtest,id=qtest,chardev=q",
	};
	struct strv argv = {};
	int monitor[2], qtest[2];

	assert_int_equal(socket_pair(monitor), 0);
	assert_int_equal(socket_pair(qtest), 0);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		strv_add(&argv, words[i]);
	const struct spawn_fd fds[] = { { monitor[1], 3 }, { qtest[1], 4 } };
	const struct spawn_options options = { .argv = argv.items, .fds = fds, .nfds = 2 };
	assert_int_equal(spawn(&options, &bench->pid, &bench->pidfd, NULL), 0);
	strv_done(&argv);
	close(monitor[1]);
	close(qtest[1]);
	bench->qtest = qtest[0];
	return monitor[0];
}

static int setup(void **state)
{
	struct bench *bench = xnew(struct bench);
	char template[] = "/tmp/kiln-disks.XXXXXX";

	assert_non_null(mkdtemp(template));
	bench->dir = xstrdup(template);
	bench->loop = loop_new();
	start_guest(bench);
	bench->slots = slots_new(bench->loop, start_qemu(bench), 0, "pod-1");
	bench->disks = disks_new(bench->loop, bench->slots, bench->agent, "pod-1");
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;
	int status;

	disks_close(bench->disks);
	slots_close(bench->slots);
	agent_link_free(bench->agent);
	ttrpc_client_free(bench->client);
	ttrpc_server_free(bench->guest);
	loop_timer_free(bench->eject);
	kill(bench->pid, SIGKILL);
	waitpid(bench->pid, &status, 0);
	close(bench->pidfd);
	close(bench->qtest);
	loop_free(bench->loop);
	assert_int_equal(path_remove(bench->dir, NULL), 0);
	free(bench->dir);
	free(bench->why);
	free(bench);
	return 0;
}

/* The caller frees. */
static char *file_new(const struct bench *bench, const char *name, off_t bytes)
{
	char *path = path_join(bench->dir, name);
	_cleanup_close_ int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	assert_int_equal(ftruncate(fd, bytes), 0);
	return path;
}

static void on_attached(int number, struct disk *disk, const struct error *err, void *userdata)
{
	struct bench *bench = userdata;

	bench->done = true;
	bench->number = number;
	bench->disk = disk;
	replace_string(&bench->why, number < 0 ? error_message(err) : "");
}

static int attach(struct bench *bench, const char *path, bool writable)
{
	bench->done = false;
	disks_attach(bench->disks, path, writable, on_attached, bench);
	assert_false(bench->done);
	assert_true(loop_run_until(bench->loop, &bench->done, DEADLINE_MS));
	return bench->number;
}

static void on_out(void *userdata)
{
	struct bench *bench = userdata;

	bench->done = true;
}

static void release(struct bench *bench, struct disk *disk)
{
	bench->done = false;
	disk_release(disk, on_out, bench);
	assert_true(loop_run_until(bench->loop, &bench->done, DEADLINE_MS));
	loop_timer_stop(bench->eject);
}

/* Somebody has the file open for writing or reading. */
static bool is_claimed(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);

	return flock(fd, LOCK_EX | LOCK_NB) < 0;
}

/* ---------------------------------------------------------------- tests */

static void test_a_disk_comes_and_goes(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *path = file_new(bench, "a", 1 << 20);

	assert_int_equal(attach(bench, path, true), 0);
	assert_string_equal(disk_serial(bench->disk), "kiln-disk1");
	assert_true(disk_is_writable(bench->disk));
	assert_true(is_claimed(path));
	release(bench, bench->disk);
	assert_false(is_claimed(path));
	assert_int_equal(bench->leaves, 1);
	assert_int_equal(attach(bench, path, false), 0);
	assert_string_equal(disk_serial(bench->disk), "kiln-disk2");
	assert_false(disk_is_writable(bench->disk));
	release(bench, bench->disk);
}

static void test_one_device_is_one_disk(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *path = file_new(bench, "a", 1 << 20);
	_cleanup_free_ char *other = path_join(bench->dir, "b");
	struct disk *first;

	assert_int_equal(link(path, other), 0);
	assert_int_equal(attach(bench, path, true), 0);
	first = bench->disk;
	assert_int_equal(attach(bench, other, false), 0);
	assert_ptr_equal(bench->disk, first);
	assert_int_equal(bench->finds, 1);
	release(bench, first);
	assert_true(is_claimed(path));
	assert_int_equal(bench->leaves, 0);
	release(bench, first);
	assert_false(is_claimed(path));
}

static void test_a_reader_is_not_made_a_writer(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *path = file_new(bench, "a", 1 << 20);
	struct disk *reader;

	assert_int_equal(attach(bench, path, false), 0);
	reader = bench->disk;
	assert_int_equal(attach(bench, path, true), -EBUSY);
	assert_non_null(strstr(bench->why, "read-only already"));
	release(bench, reader);
	assert_int_equal(attach(bench, path, true), 0);
	release(bench, bench->disk);
}

static void test_what_is_no_disk_is_refused(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *small = file_new(bench, "small", 511);
	_cleanup_free_ char *busy = file_new(bench, "busy", 1 << 20);
	_cleanup_free_ char *none = path_join(bench->dir, "none");
	_cleanup_close_ int fd = open(busy, O_RDWR | O_CLOEXEC);

	assert_int_equal(attach(bench, none, true), -ENOENT);
	assert_int_equal(attach(bench, bench->dir, true), -ENOTBLK);
	assert_int_equal(attach(bench, small, true), -EINVAL);
	assert_int_equal(flock(fd, LOCK_SH), 0);
	assert_int_equal(attach(bench, busy, true), -EBUSY);
	assert_int_equal(attach(bench, busy, false), 0);
	release(bench, bench->disk);
}

static void test_one_that_the_guest_does_not_see_is_taken_out(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *path = file_new(bench, "a", 1 << 20);

	bench->find_code = TTRPC_DEADLINE_EXCEEDED;
	assert_int_equal(attach(bench, path, true), -ETIMEDOUT);
	assert_non_null(strstr(bench->why, "the guest does not see it"));
	bench->find_code = TTRPC_OK;
	/* It waits until the other is out. */
	loop_timer_start(bench->eject, EJECT_MS);
	assert_int_equal(attach(bench, path, true), 0);
	assert_string_equal(disk_serial(bench->disk), "kiln-disk2");
	loop_timer_stop(bench->eject);
	release(bench, bench->disk);
}

/* The file is free again, and the next try gives a disk. */
static void test_steps_that_fail(void **state)
{
	static const char *const points[] = { "disk.opened=EMFILE", "disk.found=EIO" };
	static const int numbers[] = { EMFILE, EIO };
	struct bench *bench = *state;
	_cleanup_free_ char *path = file_new(bench, "a", 1 << 20);
	_cleanup_free_ char *armed = path_join(bench->dir, "armed");
	_cleanup_free_ char *variable = xasprintf("@%s", armed);

	setenv("KILN_FAULT", variable, 1);
	loop_timer_start(bench->eject, EJECT_MS);
	for (size_t i = 0; i < ARRAY_SIZE(points); i++) {
		assert_int_equal(file_write_atomic(armed, points[i], strlen(points[i]), 0600, NULL),
				 0);
		assert_int_equal(attach(bench, path, true), -numbers[i]);
		assert_non_null(strstr(bench->why, "fault point disk."));
		assert_int_equal(attach(bench, path, true), 0);
		release(bench, bench->disk);
		assert_false(is_claimed(path));
		loop_timer_start(bench->eject, EJECT_MS);
	}
	loop_timer_stop(bench->eject);
	unsetenv("KILN_FAULT");
}

static void test_one_that_the_guest_has_let_go_is_gone(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *path = file_new(bench, "a", 1 << 20);

	assert_int_equal(attach(bench, path, true), 0);
	let_go(bench);
	release(bench, bench->disk);
	assert_false(is_claimed(path));
}

static void test_one_that_the_guest_holds_stays(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *path = file_new(bench, "a", 1 << 20);

	bench->leave_code = TTRPC_DEADLINE_EXCEEDED;
	assert_int_equal(attach(bench, path, true), 0);
	release(bench, bench->disk);
	assert_true(is_claimed(path));
	assert_int_equal(attach(bench, path, true), 0);
	assert_string_equal(disk_serial(bench->disk), "kiln-disk1");
	bench->leave_code = TTRPC_OK;
	release(bench, bench->disk);
	assert_false(is_claimed(path));
}

static void on_resized(int number, const struct error *err _unused_, void *userdata)
{
	struct bench *bench = userdata;

	bench->done = true;
	bench->number = number;
}

static int resize(struct bench *bench, uint64_t size)
{
	bench->done = false;
	disk_resize(bench->disk, size, on_resized, bench);
	assert_true(loop_run_until(bench->loop, &bench->done, DEADLINE_MS));
	return bench->number;
}

static void test_a_file_becomes_larger_and_not_smaller(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *path = file_new(bench, "a", 1 << 20);
	struct stat st;

	assert_int_equal(attach(bench, path, true), 0);
	assert_int_equal(resize(bench, 1 << 19), -EINVAL);
	assert_int_equal(resize(bench, 1 << 21), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 1 << 21);
	release(bench, bench->disk);
}

static void test_release_of_the_machine_ends_all(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *path = file_new(bench, "a", 1 << 20);
	_cleanup_free_ char *other = file_new(bench, "b", 1 << 20);
	struct disk *disk;

	assert_int_equal(attach(bench, path, true), 0);
	disk = bench->disk;
	bench->done = false;
	disks_attach(bench->disks, other, true, on_attached, bench);
	disks_close(steal_ptr(bench->disks));
	assert_true(loop_run_until(bench->loop, &bench->done, DEADLINE_MS));
	assert_int_equal(bench->number, -ECANCELED);
	release(bench, disk);
}

static void test_dead_machine_has_no_disks(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *path = file_new(bench, "a", 1 << 20);
	_cleanup_free_ char *other = file_new(bench, "b", 1 << 20);
	struct disk *disk;

	assert_int_equal(attach(bench, path, true), 0);
	disk = bench->disk;
	kill(bench->pid, SIGKILL);
	assert_int_equal(attach(bench, other, true), -ENOTCONN);
	disk_release(disk, NULL, NULL);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_disk_comes_and_goes),
		TEST(test_one_device_is_one_disk),
		TEST(test_a_reader_is_not_made_a_writer),
		TEST(test_what_is_no_disk_is_refused),
		TEST(test_one_that_the_guest_does_not_see_is_taken_out),
		TEST(test_steps_that_fail),
		TEST(test_one_that_the_guest_has_let_go_is_gone),
		TEST(test_one_that_the_guest_holds_stays),
		TEST(test_a_file_becomes_larger_and_not_smaller),
		TEST(test_release_of_the_machine_ends_all),
		TEST(test_dead_machine_has_no_disks),
	};

	if (access(QEMU, X_OK) < 0) {
		printf("skipped: there is no " QEMU "\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
