/* What a tmpfs gets of the folder that it covers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/copy_up.h"
#include "base/memory.h"
#include "base/strings.h"
#include "tests/unit/folder.h"

static char *below(const char *path)
{
	return path_join(test_folder, path);
}

static void make_folder(const char *path, mode_t mode)
{
	_cleanup_free_ char *full = below(path);

	assert_int_equal(mkdir(full, 0700), 0);
	assert_int_equal(chmod(full, mode), 0);
}

static void write_file(const char *path, const char *text, mode_t mode)
{
	_cleanup_free_ char *full = below(path);
	int fd = open(full, O_WRONLY | O_CREAT | O_EXCL, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static struct stat stat_of(const char *path)
{
	_cleanup_free_ char *full = below(path);
	struct stat st = {};

	assert_int_equal(lstat(full, &st), 0);
	return st;
}

static int copy(struct error *err)
{
	_cleanup_free_ char *from_path = below("from"), *to_path = below("to");
	int from = open(from_path, O_PATH | O_DIRECTORY),
	    to = open(to_path, O_RDONLY | O_DIRECTORY);
	int r = copy_up(from, to, err);

	close(from);
	close(to);
	return r;
}

static void test_all_kinds(void **state _unused_)
{
	_cleanup_free_ char *link = below("from/link"), *fifo = below("from/deep/fifo");
	_cleanup_free_ char *copied_link = below("to/link"), *file = below("to/deep/file");
	const struct timespec times[] = { { 1000, 5 }, { 2000, 7 } };
	char target[32] = "", text[32] = "";

	make_folder("from", 0755);
	make_folder("to", 0755);
	make_folder("from/deep", 01751);
	write_file("from/deep/file", "content", 0640);
	write_file("from/program", "", 04755);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(symlink("/outside", link), 0);
	_cleanup_free_ char *timed = below("from/deep/file");
	assert_int_equal(utimensat(AT_FDCWD, timed, times, 0), 0);

	assert_int_equal(copy(NULL), 0);
	assert_int_equal(stat_of("to/deep").st_mode, S_IFDIR | 01751);
	assert_int_equal(stat_of("to/deep/file").st_mode, S_IFREG | 0640);
	assert_int_equal(stat_of("to/deep/file").st_mtim.tv_sec, 2000);
	assert_int_equal(stat_of("to/program").st_mode, S_IFREG | 04755);
	assert_int_equal(stat_of("to/deep/fifo").st_mode & S_IFMT, S_IFIFO);
	assert_true(readlink(copied_link, target, sizeof(target) - 1) > 0);
	assert_string_equal(target, "/outside");
	int fd = open(file, O_RDONLY);
	assert_int_equal(read(fd, text, sizeof(text)), strlen("content"));
	close(fd);
	assert_string_equal(text, "content");
}

static void test_too_deep(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *path = xstrdup("from");

	make_folder("from", 0755);
	make_folder("to", 0755);
	for (unsigned i = 0; i < 70; i++) {
		_cleanup_free_ char *next = path_join(path, "d");
		make_folder(next, 0755);
		replace_string(&path, next);
	}
	assert_int_equal(copy(&err), -ELOOP);
	assert_non_null(strstr(error_message(&err), "tmpcopyup"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_all_kinds, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_too_deep, folder_setup, folder_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
