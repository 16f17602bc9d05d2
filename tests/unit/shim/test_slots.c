/* Images on the slots of a real QEMU, whose block nodes are like a machine's and which has no
 * machine around them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/socket.h"
#include "base/spawn.h"
#include "base/strv.h"
#include "proto/qmp.h"
#include "shim/slots.h"

#define QEMU "/usr/bin/qemu-system-x86_64"

enum { SLOTS = 2, DEADLINE_MS = 20000, FILES = 255 };

struct bench {
	struct loop *loop;
	struct slots *slots;
	struct qmp *qmp; /* a monitor of the test's own */
	pid_t pid;
	int pidfd;
	int placeholder;
	/* of the last that was attached */
	bool done;
	int number;
	char *why;
	char *nodes; /* what QEMU's nodes are, as JSON */
};

/* A key that is not another one's. */
static const char *key_of(char letter)
{
	static char keys[26][DIGEST_HEX_SIZE];
	char *key = keys[letter - 'a'];

	memset(key, letter, DIGEST_HEX_SIZE - 1);
	return key;
}

/* To be read only, as those of the cache are. */
static int image_new(void)
{
	_cleanup_close_ int fd = memfd_create("image", MFD_CLOEXEC);
	_cleanup_free_ char *path = xasprintf("/proc/self/fd/%d", fd);

	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static void start_qemu(struct bench *bench, int monitors[2])
{
	struct strv argv = {};
	int pairs[2][2];

	for (int i = 0; i < 2; i++) {
		assert_int_equal(socket_pair(pairs[i]), 0);
		monitors[i] = pairs[i][0];
	}
	strv_add(&argv, QEMU);
	for (const char *const *word = (const char *const[]){ "-machine", "none", "-nodefaults",
							      "-display", "none", NULL };
	     *word; word++)
		strv_add(&argv, *word);
	for (int i = 0; i < 2; i++) {
		strv_add(&argv, "-chardev");
		strv_addf(&argv, "socket,id=m%d,fd=%d", i, 4 + i);
		strv_add(&argv, "-mon");
		strv_addf(&argv, "chardev=m%d,mode=control", i);
	}
	for (int i = 0; i < SLOTS; i++) {
		strv_add(&argv, "-blockdev");
		strv_addf(&argv,
			  "driver=raw,node-name=slot%d,read-only=on,file.driver=file,"
			  "file.locking=off,file.read-only=on,file.filename=/proc/self/fd/3",
			  i);
	}
	const struct spawn_fd fds[] = { { bench->placeholder, 3 },
					{ pairs[0][1], 4 },
					{ pairs[1][1], 5 } };
	const struct spawn_options options = { .argv = argv.items, .fds = fds, .nfds = 3 };
	assert_int_equal(spawn(&options, &bench->pid, &bench->pidfd, NULL), 0);
	for (int i = 0; i < 2; i++)
		close(pairs[i][1]);
	strv_done(&argv);
}

static int setup(void **state)
{
	struct bench *bench = xnew(struct bench);
	int monitors[2];

	bench->loop = loop_new();
	bench->placeholder = image_new();
	start_qemu(bench, monitors);
	bench->slots = slots_new(bench->loop, monitors[0], SLOTS, "pod-1");
	bench->qmp = qmp_new(bench->loop, monitors[1], &(struct qmp_options){});
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;
	int status;

	slots_close(bench->slots);
	qmp_free(bench->qmp);
	kill(bench->pid, SIGKILL);
	waitpid(bench->pid, &status, 0);
	close(bench->pidfd);
	close(bench->placeholder);
	loop_free(bench->loop);
	free(bench->why);
	free(bench->nodes);
	free(bench);
	return 0;
}

static void on_attached(int number, const struct error *err, void *userdata)
{
	struct bench *bench = userdata;

	assert_false(bench->done);
	bench->done = true;
	bench->number = number;
	replace_string(&bench->why, number < 0 ? error_message(err) : "");
}

static void begin(struct bench *bench, char letter, int fd)
{
	struct slot_file file = { fd, 1 << 20 };

	bench->done = false;
	slots_attach(bench->slots, key_of(letter), &file, 1, on_attached, bench);
	assert_int_equal(file.fd, -EBADF);
	assert_false(bench->done);
}

static int attach_fd(struct bench *bench, char letter, int fd)
{
	begin(bench, letter, fd);
	assert_true(loop_run_until(bench->loop, &bench->done, DEADLINE_MS));
	return bench->number;
}

static int attach(struct bench *bench, char letter)
{
	return attach_fd(bench, letter, image_new());
}

static void on_nodes(int number, json_t *result, const struct error *err _unused_, void *userdata)
{
	struct bench *bench = userdata;

	assert_int_equal(number, 0);
	free(bench->nodes);
	bench->nodes = json_dumps(result, 0);
	bench->done = true;
}

static bool qemu_has(struct bench *bench, const char *node)
{
	_cleanup_free_ char *name = xasprintf("\"node-name\": \"%s\"", node);

	bench->done = false;
	qmp_command(bench->qmp, "query-named-block-nodes", NULL, 0, on_nodes, bench);
	assert_true(loop_run_until(bench->loop, &bench->done, DEADLINE_MS));
	return strstr(bench->nodes, name);
}

static void test_one_image_is_on_one_slot(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(attach(bench, 'a'), 0);
	assert_true(qemu_has(bench, "image1"));
	assert_int_equal(attach(bench, 'a'), 0);
	assert_int_equal(attach(bench, 'b'), 1);
	assert_int_equal(attach(bench, 'c'), -EBUSY);
	assert_non_null(strstr(bench->why, "all 2 slots are taken"));
}

static int attach_many(struct bench *bench, char letter, int fd, size_t count)
{
	struct slot_file files[FILES] = { { fd, 1 << 20 } };

	for (size_t i = 1; i < count; i++)
		files[i] = (struct slot_file){ image_new(), 1 << 20 };
	bench->done = false;
	slots_attach(bench->slots, key_of(letter), files, count, on_attached, bench);
	assert_true(loop_run_until(bench->loop, &bench->done, DEADLINE_MS));
	for (size_t i = 0; i < count; i++)
		assert_int_equal(files[i].fd, -EBADF);
	return bench->number;
}

static void on_sets(int number, json_t *result, const struct error *err _unused_, void *userdata)
{
	struct bench *bench = userdata;

	assert_int_equal(number, 0);
	bench->number = (int)json_array_size(result);
	bench->done = true;
}

/* QEMU removes by the other monitor what is not used any more: at once, and without being awaited.
 */
static void expect_sets(struct bench *bench, int count)
{
	for (int i = 0; i < DEADLINE_MS; i++) {
		bench->done = false;
		qmp_command(bench->qmp, "query-fdsets", NULL, 0, on_sets, bench);
		assert_true(loop_run_until(bench->loop, &bench->done, DEADLINE_MS));
		if (bench->number == count)
			return;
	}
	fail_msg("%d sets of descriptors, not %d", bench->number, count);
}

/* As many as a kernel makes partitions of a disk. */
static void test_many_files_are_one_disk(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(attach_many(bench, 'a', image_new(), FILES), 0);
	assert_true(qemu_has(bench, "image1"));
	assert_non_null(strstr(bench->nodes, "\"virtual-size\": 267386880")); /* 255 MiB */
	expect_sets(bench, FILES + 1);
	assert_int_equal(attach_many(bench, 'b', image_new(), 2), 1);
	assert_true(qemu_has(bench, "image257"));
	slots_release(bench->slots, 0);
	assert_int_equal(attach(bench, 'c'), 0);
	assert_true(qemu_has(bench, "image260"));
	assert_false(qemu_has(bench, "image1"));
	expect_sets(bench, 3 + 1);
}

/* Nor does it leave descriptors behind. */
static void test_refused_file_of_many_leaves_its_slot(void **state)
{
	struct bench *bench = *state;
	int folder = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_int_equal(attach_many(bench, 'a', folder, 3), -EIO);
	expect_sets(bench, 0);
	assert_int_equal(attach_many(bench, 'a', image_new(), 3), 0);
}

static void test_an_image_stays_until_its_place_is_needed(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(attach(bench, 'a'), 0);
	assert_int_equal(attach(bench, 'b'), 1);
	slots_release(bench->slots, 1);
	assert_int_equal(attach(bench, 'b'), 1);
	assert_false(qemu_has(bench, "image3"));
	slots_release(bench->slots, 1);
	assert_int_equal(attach(bench, 'c'), 1);
	assert_true(qemu_has(bench, "image3"));
	assert_false(qemu_has(bench, "image2")); /* closed, with its lock */
	assert_true(qemu_has(bench, "image1"));
}

static void test_two_who_ask_at_once_share(void **state)
{
	struct bench *bench = *state;
	struct bench other = { .number = -1 };
	struct slot_file file = { image_new(), 1 << 20 };

	begin(bench, 'a', image_new());
	slots_attach(bench->slots, key_of('a'), &file, 1, on_attached, &other);
	assert_true(loop_run_until(bench->loop, &other.done, DEADLINE_MS));
	assert_true(bench->done);
	assert_int_equal(other.number, 0);
	assert_false(qemu_has(bench, "image2"));
	free(other.why);
}

/* What QEMU refuses leaves the slot as it was. */
static void test_refused_image_leaves_its_slot(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(attach_fd(bench, 'a', open("/tmp", O_RDONLY | O_DIRECTORY)), -EIO);
	assert_true(*bench->why);
	assert_int_equal(attach(bench, 'a'), 0);
	assert_int_equal(attach(bench, 'b'), 1);
}

static void test_release_of_the_machine_cancels(void **state)
{
	struct bench *bench = *state;
	struct slots *slots = slots_ref(bench->slots);

	begin(bench, 'a', image_new());
	slots_close(steal_ptr(bench->slots));
	assert_true(bench->done);
	assert_int_equal(bench->number, -ECANCELED);
	slots_release(slots, 0); /* of who had it before: harmless */
	slots_unref(slots);
}

static void test_dead_machine_has_no_slots(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(attach(bench, 'a'), 0);
	begin(bench, 'b', image_new());
	kill(bench->pid, SIGKILL);
	assert_true(loop_run_until(bench->loop, &bench->done, DEADLINE_MS));
	/* It may have been quicker. */
	assert_true(bench->number == -ENOTCONN || bench->number == 1);
	if (bench->number == -ENOTCONN)
		assert_int_equal(attach(bench, 'c'), -ENOTCONN);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_one_image_is_on_one_slot),
		TEST(test_many_files_are_one_disk),
		TEST(test_refused_file_of_many_leaves_its_slot),
		TEST(test_an_image_stays_until_its_place_is_needed),
		TEST(test_two_who_ask_at_once_share),
		TEST(test_refused_image_leaves_its_slot),
		TEST(test_release_of_the_machine_cancels),
		TEST(test_dead_machine_has_no_slots),
	};

	if (access(QEMU, X_OK) < 0) {
		printf("skipped: there is no " QEMU "\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
