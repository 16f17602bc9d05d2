/* Zero pages leave the RAM file, and nothing else does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"
#include "factory/bake/bake_memory.h"

enum { PAGE = 4096, PAGES = 256, SIZE = PAGE * PAGES };

struct fixture {
	char *dir;
	char *path;
	char *data; /* what the file is to hold */
};

static int setup(void **state)
{
	struct fixture *fixture = xnew(struct fixture);
	char dir[] = "/tmp/kiln-test-memory-XXXXXX";

	assert_non_null(mkdtemp(dir));
	fixture->dir = xstrdup(dir);
	fixture->path = path_join(dir, "memory");
	fixture->data = xcalloc(1, SIZE);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	int r = path_remove(fixture->dir, NULL);

	free(fixture->dir);
	free(fixture->path);
	free(fixture->data);
	free(fixture);
	return r;
}

static void write_file(const struct fixture *fixture, size_t len)
{
	_cleanup_close_ int fd = open(fixture->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, fixture->data, len), 0);
	assert_int_equal(fsync(fd), 0);
}

/* Punches, checks that the content is the same, returns the pages that went. */
static uint64_t punched(const struct fixture *fixture)
{
	_cleanup_close_ int fd = open(fixture->path, O_RDONLY);
	_cleanup_free_ char *read = xcalloc(1, SIZE);
	uint64_t before = 0, after = 0;

	assert_int_equal(bake_memory_allocated(fixture->path, &before, NULL), 0);
	assert_int_equal(bake_memory_punch(fixture->path, NULL), 0);
	assert_int_equal(bake_memory_allocated(fixture->path, &after, NULL), 0);
	assert_int_equal(read_full(fd, read, SIZE), SIZE);
	assert_memory_equal(read, fixture->data, SIZE);
	assert_true(before >= after);
	return (before - after) / PAGE;
}

static void all_zero(void **state)
{
	struct fixture *fixture = *state;

	write_file(fixture, SIZE);
	assert_int_equal(punched(fixture), PAGES);
	assert_int_equal(punched(fixture), 0);
}

static void no_zero_page(void **state)
{
	struct fixture *fixture = *state;

	/* First, last and some middle byte of a page each make it one to be kept. */
	for (size_t page = 0; page < PAGES; page++)
		fixture->data[page * PAGE + (page % 3 == 0   ? 0
					     : page % 3 == 1 ? PAGE - 1
							     : 777)] = 1;
	write_file(fixture, SIZE);
	assert_int_equal(punched(fixture), 0);
}

static void runs(void **state)
{
	struct fixture *fixture = *state;

	memset(fixture->data, 0, SIZE);
	fixture->data[0] = 1;              /* 1-15: 15 pages, too short to go */
	fixture->data[16 * PAGE + 5] = 1;  /* 17-32: 16 pages, just long enough */
	fixture->data[33 * PAGE + 9] = 1;  /* 34-254 */
	fixture->data[255 * PAGE + 9] = 1; /* the last page stays */
	write_file(fixture, SIZE);
	assert_int_equal(punched(fixture), 16 + 221);
}

static void odd_files(void **state)
{
	struct fixture *fixture = *state;
	_cleanup_(error_done) struct error err = {};
	uint64_t size = 7;

	write_file(fixture, 100);
	assert_int_equal(bake_memory_punch(fixture->path, &err), -EINVAL);
	write_file(fixture, 0);
	assert_int_equal(bake_memory_punch(fixture->path, &err), -EINVAL);
	assert_int_equal(path_remove(fixture->path, NULL), 0);
	assert_int_equal(bake_memory_punch(fixture->path, &err), -ENOENT);
	assert_non_null(strstr(error_message(&err), fixture->path));
	assert_int_equal(bake_memory_allocated(fixture->path, &size, &err), -ENOENT);
	assert_int_equal(size, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(all_zero, setup, teardown),
		cmocka_unit_test_setup_teardown(no_zero_page, setup, teardown),
		cmocka_unit_test_setup_teardown(runs, setup, teardown),
		cmocka_unit_test_setup_teardown(odd_files, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
