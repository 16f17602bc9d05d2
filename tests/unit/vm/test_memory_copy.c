/* Copies that keep the holes. (On hugetlbfs: tests/integration/test_carry.sh.) */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"
#include "factory/store/memory_copy.h"

#define FILE_BYTES (8 * 1024 * 1024 + 123)

struct fixture {
	char dir[32];
	char *from, *to;
};

static int setup(void **state)
{
	struct fixture *f = xnew(struct fixture);

	strcpy(f->dir, "/tmp/kiln-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->from = path_join(f->dir, "from");
	f->to = path_join(f->dir, "to");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(path_remove(f->dir, NULL), 0);
	free(f->from);
	free(f->to);
	free(f);
	return 0;
}

static int open_new(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static void expect_same(int a, int b)
{
	_cleanup_free_ char *one = xcalloc(1, FILE_BYTES), *two = xcalloc(1, FILE_BYTES);

	assert_int_equal(pread(a, one, FILE_BYTES, 0), FILE_BYTES);
	assert_int_equal(pread(b, two, FILE_BYTES, 0), FILE_BYTES);
	assert_memory_equal(one, two, FILE_BYTES);
}

static void test_content_and_holes(void **state)
{
	static const off_t places[] = { 0, 70001, 3 * 1024 * 1024 - 1, FILE_BYTES - 3 };
	struct fixture *f = *state;
	_cleanup_close_ int from = open_new(f->from), to = open_new(f->to);
	struct stat st;

	assert_int_equal(ftruncate(from, FILE_BYTES), 0);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		assert_int_equal(pwrite(from, "abc", 3, places[i]), 3);
	/* Written zeroes are left out, too. */
	_cleanup_free_ char *zeroes = xcalloc(1, 1024 * 1024);
	assert_int_equal(pwrite(from, zeroes, 1024 * 1024, 5 * 1024 * 1024), 1024 * 1024);

	assert_int_equal(memory_copy(from, to, "it", NULL, NULL), 0);
	expect_same(from, to);
	assert_int_equal(fstat(to, &st), 0);
	assert_true(st.st_blocks * 512 < 2 * 1024 * 1024);
}

static void test_empty_and_all_hole(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int from = open_new(f->from), to = open_new(f->to);

	assert_int_equal(memory_copy(from, to, "it", NULL, NULL), 0);
	assert_int_equal(ftruncate(from, FILE_BYTES), 0);
	assert_int_equal(memory_copy(from, to, "it", NULL, NULL), 0);
	expect_same(from, to);
}

static void test_cancelled(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int from = open_new(f->from), to = open_new(f->to);
	atomic_bool cancelled = true;

	assert_int_equal(pwrite(from, "abc", 3, 0), 3);
	assert_int_equal(memory_copy(from, to, "it", &cancelled, NULL), -ECANCELED);
}

static void test_errors_name_the_copy(void **state)
{
	struct fixture *f = *state;
	_cleanup_(error_done) struct error err = {};
	_cleanup_close_ int from = open_new(f->from);
	_cleanup_close_ int to = open("/dev/full", O_RDWR | O_CLOEXEC);

	assert_int_equal(pwrite(from, "abc", 3, 0), 3);
	assert_true(memory_copy(from, to, "the copy", NULL, &err) < 0);
	assert_non_null(strstr(error_message(&err), "the copy"));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_content_and_holes),
		TEST(test_empty_and_all_hole),
		TEST(test_cancelled),
		TEST(test_errors_name_the_copy),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
