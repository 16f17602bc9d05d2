#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

struct fixture {
	char dir[64];
};

static int setup(void **state)
{
	struct fixture *f = xnew(struct fixture);

	*state = f;
	snprintf(f->dir, sizeof(f->dir), "/tmp/kiln-test-file.XXXXXX");
	return mkdtemp(f->dir) ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	int r = path_remove(f->dir, NULL);

	free(f);
	return r;
}

static void put(const char *path, const char *text)
{
	assert_int_equal(file_write_atomic(path, text, strlen(text), 0644, NULL), 0);
}

static size_t entries_of(const char *dir)
{
	DIR *d = opendir(dir);
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static void test_atomic_write(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *path = path_join(f->dir, "a.json");
	_cleanup_free_ char *text = NULL;
	struct stat st;
	size_t len;

	put(path, "a longer first version");
	assert_int_equal(file_write_atomic(path, "a\0b", 3, 0600, NULL), 0);
	assert_int_equal(file_read(path, 3, &text, &len, NULL), 0);
	assert_int_equal(len, 3);
	assert_memory_equal(text, "a\0b", 4);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(entries_of(f->dir), 1);
}

static void test_volatile_write(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *path = path_join(f->dir, "volatile");
	_cleanup_free_ char *text = NULL;
	struct stat st;

	assert_int_equal(file_write_volatile(path, "first, longer", 13, 0600, NULL), 0);
	assert_int_equal(file_write_volatile(path, "second", 6, 0640, NULL), 0);
	assert_int_equal(file_read(path, 100, &text, NULL, NULL), 0);
	assert_string_equal(text, "second");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_int_equal(entries_of(f->dir), 1);
	assert_int_equal(file_write_volatile(f->dir, "x", 1, 0600, NULL), -EISDIR);
}

static void test_failed_atomic_write_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *path = path_join(f->dir, "folder");
	_cleanup_(error_done) struct error err = {};

	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(file_write_atomic(path, "x", 1, 0600, &err), -EISDIR);
	assert_non_null(strstr(error_message(&err), path));
	assert_int_equal(entries_of(f->dir), 1);
	assert_int_equal(file_write_atomic("/nonexistent/x", "x", 1, 0600, &err), -ENOENT);
}

static void test_read_bounds(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *path = path_join(f->dir, "f"), *fifo = path_join(f->dir, "fifo");
	_cleanup_(error_done) struct error err = {};
	char *text = NULL;

	put(path, "four");
	assert_int_equal(file_read(path, 3, &text, NULL, &err), -EFBIG);
	assert_non_null(strstr(error_message(&err), path));
	assert_int_equal(file_read(f->dir, 100, &text, NULL, &err), -EISDIR);
	assert_int_equal(file_read("/nonexistent", 100, &text, NULL, &err), -ENOENT);
	assert_null(text);
	assert_int_equal(file_read("/proc/self/stat", 4096, &text, NULL, &err), 0);
	assert_true(strlen(text) > 10);
	free(steal_ptr(text));
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(file_read(fifo, 100, &text, NULL, &err), 0);
	assert_string_equal(text, "");
	free(text);
}

static void test_large_file(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *path = path_join(f->dir, "f"), *data = xcalloc(1, 1000000);
	_cleanup_free_ char *text = NULL;
	size_t len;

	memset(data, 'z', 1000000);
	assert_int_equal(file_write_atomic(path, data, 1000000, 0600, NULL), 0);
	assert_int_equal(file_read(path, 1000000, &text, &len, NULL), 0);
	assert_int_equal(len, 1000000);
	assert_memory_equal(text, data, len);
	assert_int_equal(text[len], 0);
}

static void test_write_value(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *path = path_join(f->dir, "value"), *text = NULL;
	_cleanup_(error_done) struct error err = {};

	assert_int_equal(file_write_value(path, "1", &err), -ENOENT);
	assert_false(path_exists(path));
	put(path, "0");
	assert_int_equal(file_write_value(path, "1", &err), 0);
	assert_int_equal(file_read(path, 10, &text, NULL, NULL), 0);
	assert_string_equal(text, "1");
}

static void test_dir_make(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *deep = path_join(f->dir, "a/b//c/"), *file = path_join(f->dir, "f");
	_cleanup_free_ char *below = path_join(file, "x");
	_cleanup_(error_done) struct error err = {};

	assert_int_equal(dir_make(deep, 0700, &err), 0);
	assert_int_equal(dir_make(deep, 0700, &err), 0);
	assert_true(path_exists(deep));
	put(file, "");
	assert_int_equal(dir_make(file, 0700, &err), -ENOTDIR);
	assert_int_equal(dir_make(below, 0700, &err), -ENOTDIR);
	assert_int_equal(dir_make("", 0700, &err), -ENOENT);
}

static void test_path_join(void **state _unused_)
{
	static const char *const cases[][3] = {
		{ "/a", "b", "/a/b" }, { "/a/", "b", "/a/b" },  { "/a", "/b", "/b" },
		{ "/", "b", "/b" },    { "a", "b/c", "a/b/c" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *path = path_join(cases[i][0], cases[i][1]);

		assert_string_equal(path, cases[i][2]);
	}
}

static void test_remove_does_not_follow(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *keep = path_join(f->dir, "keep"), *tree = path_join(f->dir, "tree");
	_cleanup_free_ char *kept = path_join(keep, "file"), *sub = path_join(tree, "sub");
	_cleanup_free_ char *link = path_join(sub, "link"), *top = path_join(f->dir, "top");
	_cleanup_free_ char *slashed = xasprintf("%s/", top);

	assert_int_equal(dir_make(keep, 0700, NULL), 0);
	assert_int_equal(dir_make(sub, 0700, NULL), 0);
	put(kept, "kept");
	assert_int_equal(symlink(keep, link), 0);
	assert_int_equal(symlink(keep, top), 0);
	assert_int_equal(path_remove(tree, NULL), 0);
	assert_false(path_exists(tree));
	assert_int_equal(path_remove(slashed, NULL), 0);
	assert_int_equal(access(top, F_OK), -1);
	assert_true(path_exists(kept));
	assert_int_equal(path_remove(kept, NULL), 0);
	assert_false(path_exists(kept));
}

static void test_remove_missing_and_odd(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *missing = path_join(f->dir, "no/such/thing");
	_cleanup_free_ char *dot = path_join(f->dir, "."), *dots = path_join(f->dir, "..");

	assert_int_equal(path_remove(missing, NULL), 0);
	assert_int_equal(path_remove("/", NULL), -EINVAL);
	assert_int_equal(path_remove("", NULL), -EINVAL);
	assert_int_equal(path_remove(dot, NULL), -EINVAL);
	assert_int_equal(path_remove(dots, NULL), -EINVAL);
	assert_true(path_exists(f->dir));
}

/* Deeper than descriptors and PATH_MAX allow: a guest can make such a tree in its share. */
static void test_remove_deep_and_wide(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *tree = path_join(f->dir, "tree");
	int at = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_int_equal(mkdirat(at, "tree", 0700), 0);
	for (int i = 0; i < 1500; i++) {
		const char *name = i == 0 ? "tree" : "dir";
		int next = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		assert_true(next >= 0);
		close(at);
		at = next;
		assert_int_equal(mkdirat(at, "dir", 0700), 0);
		assert_int_equal(close_fd(openat(at, "f", O_CREAT | O_WRONLY, 0600)), -EBADF);
	}
	for (int i = 0; i < 2000; i++) {
		_cleanup_free_ char *name = xasprintf("file-%d", i);

		close_fd(openat(at, name, O_CREAT | O_WRONLY, 0600));
	}
	close(at);
	assert_int_equal(path_remove(tree, NULL), 0);
	assert_false(path_exists(tree));
}

static void test_remove_stops_at_a_mount(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *tree = path_join(f->dir, "tree"), *sub = path_join(tree, "sub");
	_cleanup_free_ char *kept = path_join(sub, "kept");
	_cleanup_(error_done) struct error err = {};

	assert_int_equal(dir_make(sub, 0700, NULL), 0);
	if (mount("none", sub, "tmpfs", MS_NOSUID | MS_NODEV, "size=64k") < 0)
		skip();
	put(kept, "kept");

	int r = path_remove(tree, &err);
	bool there = path_exists(kept);
	int on_it = path_remove(sub, NULL);

	assert_int_equal(umount2(sub, MNT_DETACH), 0);
	assert_int_equal(r, -EBUSY);
	assert_int_equal(on_it, -EBUSY);
	assert_true(there);
	assert_non_null(strstr(error_message(&err), tree));
}

/* The same file system bound into the tree is another mount, too. */
static void test_remove_stops_at_a_bind_mount(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *tree = path_join(f->dir, "tree"), *sub = path_join(tree, "sub");
	_cleanup_free_ char *keep = path_join(f->dir, "keep"), *kept = path_join(keep, "file");

	assert_int_equal(dir_make(sub, 0700, NULL), 0);
	assert_int_equal(dir_make(keep, 0700, NULL), 0);
	put(kept, "kept");
	if (mount(keep, sub, NULL, MS_BIND, NULL) < 0)
		skip();

	int r = path_remove(tree, NULL);

	assert_int_equal(umount2(sub, MNT_DETACH), 0);
	assert_int_equal(r, -EBUSY);
	assert_true(path_exists(kept));
}

static void test_full_io(void **state _unused_)
{
	int fds[2];
	char data[16];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(write_full(fds[1], "hello", 5), 0);
	close(fds[1]);
	assert_int_equal(read_full(fds[0], data, sizeof(data)), 5);
	assert_int_equal(read_full(fds[0], data, sizeof(data)), 0);
	close(fds[0]);
	assert_int_equal(read_full(fds[0], data, sizeof(data)), -EBADF);
	assert_int_equal(write_full(-1, "x", 1), -EBADF);
}

#define FILE_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FILE_TEST(test_atomic_write),
		FILE_TEST(test_volatile_write),
		FILE_TEST(test_failed_atomic_write_leaves_nothing),
		FILE_TEST(test_read_bounds),
		FILE_TEST(test_large_file),
		FILE_TEST(test_write_value),
		FILE_TEST(test_dir_make),
		cmocka_unit_test(test_path_join),
		FILE_TEST(test_remove_does_not_follow),
		FILE_TEST(test_remove_missing_and_odd),
		FILE_TEST(test_remove_deep_and_wide),
		FILE_TEST(test_remove_stops_at_a_mount),
		FILE_TEST(test_remove_stops_at_a_bind_mount),
		cmocka_unit_test(test_full_io),
	};

	return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}
