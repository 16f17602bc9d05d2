/* Images in the DAX windows of a real QEMU, started with the library that puts them there
 * (factory/preload/), and with no machine around them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/spawn.h"
#include "base/strings.h"
#include "base/strv.h"
#include "factory/guest/dax_window.h"
#include "factory/store/device_files.h"
#include "shim/dax_windows.h"

#define QEMU "/usr/bin/qemu-system-x86_64"

enum { WINDOWS = 2, WINDOW_BYTES = 4 << 20, DEADLINE_MS = 20000, SOCKET_FD = 3, MONITOR_FD = 4 };

struct bench {
	char dir[64];
	struct loop *loop;
	struct dax_windows *windows;
	pid_t pid;
	int pidfd;
	int monitor;
	/* of the last that was attached */
	bool done;
	int number;
	char *why;
};

static const char *key_of(char letter)
{
	static char keys[26][DIGEST_HEX_SIZE];
	char *key = keys[letter - 'a'];

	memset(key, letter, DIGEST_HEX_SIZE - 1);
	return key;
}

/* Of one byte over and over, and no whole number of pages. */
static int image_new(char letter, size_t bytes)
{
	_cleanup_free_ char *text = xcalloc(1, bytes);
	int fd = memfd_create("image", MFD_CLOEXEC);

	memset(text, letter, bytes);
	assert_int_equal(write(fd, text, bytes), bytes);
	return fd;
}

/* build/unit/shim/test_dax_windows -> build/kiln-preload.so */
static char *library(void)
{
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[len > 0 ? len : 0] = '\0';
	return path_join(dirname(dirname(dirname(self))), "kiln-preload.so");
}

/* Returns the other end of its monitor. */
static int start_qemu(struct bench *bench)
{
	int monitor[2];

	_cleanup_free_ char *path = path_join(bench->dir, DAX_WINDOW_SOCKET);
	_cleanup_free_ char *preload = library();
	_cleanup_(strv_done) struct strv argv = {}, env = {};
	_cleanup_close_ int listener = -EBADF;

	assert_int_equal(socket_listen_unix(path, 0600, &listener, NULL), 0);
	assert_int_equal(socket_pair(monitor), 0);
	strv_addf(&env, "LD_PRELOAD=%s", preload);
	strv_addf(&env, DAX_WINDOW_ENV_FILES "=%s/" DAX_WINDOW_NAME, bench->dir);
	strv_addf(&env, DAX_WINDOW_ENV_SOCKET "=%d", SOCKET_FD);
	strv_add(&argv, QEMU);
	for (const char *const *word = (const char *const[]){ "-machine", "none", "-nodefaults",
							      "-display", "none", "-S", NULL };
	     *word; word++)
		strv_add(&argv, *word);
	strv_add(&argv, "-chardev");
	strv_addf(&argv, "socket,id=monitor,fd=%d", MONITOR_FD);
	strv_add(&argv, "-mon");
	strv_add(&argv, "chardev=monitor,mode=control");
	for (size_t i = 0; i < WINDOWS; i++) {
		_cleanup_free_ char *file = device_file_window(bench->dir, i);
		assert_int_equal(device_file_make_window(bench->dir, i, WINDOW_BYTES, NULL), 0);
		strv_add(&argv, "-object");
		strv_addf(&argv,
			  "memory-backend-file,id=window%zu,size=%d,share=on,readonly=on,"
			  "mem-path=%s",
			  i, WINDOW_BYTES, file);
	}
	const struct spawn_fd fds[] = { { listener, SOCKET_FD }, { monitor[1], MONITOR_FD } };
	const struct spawn_options options = {
		.argv = argv.items, .env = env.items, .fds = fds, .nfds = 2
	};
	assert_int_equal(spawn(&options, &bench->pid, &bench->pidfd, NULL), 0);
	close(monitor[1]);
	return monitor[0];
}

/* Where QEMU has mapped a window; 0: nowhere. */
static unsigned long window_address(const struct bench *bench, size_t window)
{
	_cleanup_free_ char *file = device_file_window(bench->dir, window);
	_cleanup_free_ char *path = xasprintf("/proc/%d/maps", bench->pid);
	unsigned long address = 0;
	char line[4096];
	FILE *maps = fopen(path, "re");

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, file))
			assert_int_equal(sscanf(line, "%lx-", &address), 1);
	fclose(maps);
	return address;
}

/* QEMU has made its objects before its monitor greets. */
static void wait_for_greeting(int monitor)
{
	struct pollfd ready = { .fd = monitor, .events = POLLIN };

	assert_int_equal(poll(&ready, 1, DEADLINE_MS), 1);
	assert_true(ready.revents & POLLIN);
}

static int setup(void **state)
{
	struct bench *bench = xnew(struct bench);

	strcpy(bench->dir, "/tmp/kiln-dax.XXXXXX");
	assert_non_null(mkdtemp(bench->dir));
	bench->loop = loop_new();
	wait_for_greeting(bench->monitor = start_qemu(bench));
	bench->windows = dax_windows_new(&(struct dax_windows_options){
		.loop = bench->loop,
		.vm_dir = bench->dir,
		.sandbox_id = "pod-1",
		.carried = 3,
		.count = WINDOWS,
		.bytes = WINDOW_BYTES,
	});
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;
	int status;

	dax_windows_close(bench->windows);
	kill(bench->pid, SIGKILL);
	waitpid(bench->pid, &status, 0);
	close(bench->pidfd);
	close(bench->monitor);
	loop_free(bench->loop);
	assert_int_equal(path_remove(bench->dir, NULL), 0);
	free(bench->why);
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

/* -ENOSPC: there was no window for it. */
static int attach_files(struct bench *bench, char key, struct slot_file *files, size_t count)
{
	bench->done = false;
	if (!dax_windows_attach(bench->windows, key_of(key), files, count, on_attached, bench)) {
		for (size_t i = 0; i < count; i++)
			close(files[i].fd);
		return -ENOSPC;
	}
	for (size_t i = 0; i < count; i++)
		assert_int_equal(files[i].fd, -EBADF);
	assert_false(bench->done);
	assert_true(loop_run_until(bench->loop, &bench->done, DEADLINE_MS));
	return bench->number;
}

static int attach(struct bench *bench, char letter, size_t bytes)
{
	struct slot_file file = { image_new(letter, bytes), bytes };

	return attach_files(bench, letter, &file, 1);
}

static char qemu_byte(const struct bench *bench, unsigned long address)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/mem", bench->pid);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	char byte;

	assert_int_equal(pread(fd, &byte, 1, (off_t)address), 1);
	return byte;
}

static void test_the_guests_memory_is_the_image(void **state)
{
	struct bench *bench = *state;
	unsigned long first = window_address(bench, 0);
	_cleanup_free_ char *device = dax_windows_device(bench->windows, 0);

	assert_int_equal(attach(bench, 'a', 10000), 0);
	assert_int_equal(qemu_byte(bench, first), 'a');
	assert_int_equal(qemu_byte(bench, first + 9999), 'a');
	assert_int_equal(qemu_byte(bench, first + 10000), 0);
	assert_int_equal(qemu_byte(bench, first + WINDOW_BYTES - 1), 0);
	assert_string_equal(device, "/dev/pmem4"); /* after the root image and three carried ones */
}

/* As many as a container can have, each from a page of its own on. */
static void test_files_follow_each_other(void **state)
{
	enum { FILES = 255 };
	struct bench *bench = *state;
	unsigned long first = window_address(bench, 0);
	struct slot_file files[FILES];

	for (int i = 0; i < FILES; i++) {
		size_t bytes = i == 1 ? 4097 : 512;
		files[i] = (struct slot_file){ image_new((char)('a' + i % 26), bytes), bytes };
	}
	assert_int_equal(attach_files(bench, 'f', files, FILES), 0);
	assert_int_equal(qemu_byte(bench, first), 'a');
	assert_int_equal(qemu_byte(bench, first + 512), 0);
	assert_int_equal(qemu_byte(bench, first + 4096), 'b');
	assert_int_equal(qemu_byte(bench, first + 8192), 'b');
	assert_int_equal(qemu_byte(bench, first + 8193), 0);
	assert_int_equal(qemu_byte(bench, first + (3 * 4096)), 'c');
	assert_int_equal(qemu_byte(bench, first + (FILES * 4096)), 'a' + (FILES - 1) % 26);
	assert_int_equal(qemu_byte(bench, first + ((FILES + 1) * 4096)), 0);
}

/* Room is counted by pages, and what was told first of many files is the error. */
static void test_files_that_do_not_fit(void **state)
{
	struct bench *bench = *state;
	struct slot_file large[] = { { image_new('a', 1), 1 },
				     { image_new('b', WINDOW_BYTES - 4095), WINDOW_BYTES - 4095 } };
	struct slot_file odd[] = { { image_new('a', 1), 1 },
				   { -EBADF, 4096 },
				   { image_new('b', 1), 1 } };
	struct slot_file small[] = { { image_new('a', 1), 1 },
				     { image_new('b', WINDOW_BYTES - 4096), WINDOW_BYTES - 4096 } };
	int pipe_fds[2];

	assert_int_equal(pipe(pipe_fds), 0);
	odd[1].fd = pipe_fds[0];
	assert_int_equal(attach_files(bench, 'l', large, 2), -ENOSPC);
	assert_int_equal(attach_files(bench, 'o', odd, 3), -EINVAL);
	assert_int_equal(attach_files(bench, 's', small, 2), 1);
	close(pipe_fds[1]);
}

static void test_an_image_has_one_window_and_keeps_it(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(attach(bench, 'x', WINDOW_BYTES + 1), -ENOSPC);
	assert_int_equal(attach(bench, 'a', 4096), 0);
	assert_int_equal(attach(bench, 'a', 4096), 0);
	assert_int_equal(attach(bench, 'b', WINDOW_BYTES), 1);
	assert_int_equal(attach(bench, 'c', 4096), -ENOSPC);
	assert_int_equal(attach(bench, 'b', WINDOW_BYTES), 1);
}

static void test_a_window_that_failed_is_not_used_again(void **state)
{
	struct bench *bench = *state;
	int pipe_fds[2];

	assert_int_equal(pipe(pipe_fds), 0);
	struct slot_file file = { pipe_fds[0], 4096 };
	assert_int_equal(attach_files(bench, 'p', &file, 1), -EINVAL);
	assert_non_null(strstr(bench->why, "DAX window 0 did not take it"));
	close(pipe_fds[1]);
	assert_int_equal(attach(bench, 'a', 4096), 1);
}

static void test_a_vmm_that_is_gone(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(attach(bench, 'a', 4096), 0);
	kill(bench->pid, SIGKILL);
	waitpid(bench->pid, NULL, 0);
	assert_int_equal(attach(bench, 'b', 4096), -ENOTCONN);
	assert_non_null(strstr(bench->why, DAX_WINDOW_SOCKET));
	/* It has been there; the machine's end is for others to tell. */
	assert_int_equal(attach(bench, 'a', 4096), 0);
}

static void test_who_waits_is_told_of_the_release(void **state)
{
	struct bench *bench = *state;
	struct slot_file file = { image_new('a', 4096), 4096 };

	bench->done = false;
	assert_true(dax_windows_attach(bench->windows, key_of('a'), &file, 1, on_attached, bench));
	dax_windows_close(steal_ptr(bench->windows));
	assert_true(bench->done);
	assert_int_equal(bench->number, -ECANCELED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_the_guests_memory_is_the_image),
		TEST(test_files_follow_each_other),
		TEST(test_files_that_do_not_fit),
		TEST(test_an_image_has_one_window_and_keeps_it),
		TEST(test_a_window_that_failed_is_not_used_again),
		TEST(test_a_vmm_that_is_gone),
		TEST(test_who_waits_is_told_of_the_release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
