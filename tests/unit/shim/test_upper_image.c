/* The image for what a container writes: made by the host's mkfs, and looked at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "shim/upper_image.h"

enum { BYTES = 16 << 20, DEADLINE_MS = 20000 };

struct bench {
	char dir[64];
	char *path;
	struct loop *loop;
	bool done;
	int number;
	char *why;
};

static int setup(void **state)
{
	struct bench *bench = xnew(struct bench);

	strcpy(bench->dir, "/tmp/kiln-upper.XXXXXX");
	assert_non_null(mkdtemp(bench->dir));
	bench->path = path_join(bench->dir, "rw.img");
	bench->loop = loop_new();
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	loop_free(bench->loop);
	assert_int_equal(path_remove(bench->dir, NULL), 0);
	free(bench->path);
	free(bench->why);
	free(bench);
	return 0;
}

static void on_made(int number, const struct error *err, void *userdata)
{
	struct bench *bench = userdata;

	bench->done = true;
	bench->number = number;
	bench->why = number < 0 ? xstrdup(error_message(err)) : NULL;
}

static int make(struct bench *bench, const char *fstype, const char *uuid)
{
	const struct layer_writable writable = { bench->path, (char *)fstype, (char *)uuid, BYTES };

	bench->done = false;
	upper_image_make(bench->loop, &writable, on_made, bench);
	assert_false(bench->done);
	assert_true(loop_run_until(bench->loop, &bench->done, DEADLINE_MS));
	return bench->number;
}

static int check(const struct bench *bench, struct error *err)
{
	const struct layer_writable writable = { .path = bench->path };

	return upper_image_check(&writable, err);
}

static void test_what_is_made_is_an_image(void **state)
{
	struct bench *bench = *state;
	static const char *const types[] = { "ext2", "ext3", "ext4" };
	_cleanup_(error_done) struct error err = {};
	struct stat st;

	assert_int_equal(check(bench, &err), -ENOENT);
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		assert_int_equal(make(bench, types[i], i ? NULL : "0-1"), i ? 0 : -EIO);
		if (i == 0) {
			assert_non_null(strstr(bench->why, bench->path));
			assert_non_null(strstr(bench->why, "UUID"));
			free(steal_ptr(bench->why));
			assert_int_equal(make(bench, types[i], NULL), 0);
		}
		assert_int_equal(check(bench, NULL), 0);
		assert_int_equal(stat(bench->path, &st), 0);
		assert_int_equal(st.st_size, BYTES);
		assert_true(st.st_blocks * 512 < BYTES / 2);
		assert_int_equal(unlink(bench->path), 0);
		/* Nothing is beside it. */
		assert_int_equal(rmdir(bench->dir), 0);
		assert_int_equal(mkdir(bench->dir, 0700), 0);
	}
}

static void test_what_cannot_be_made_is_told(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(make(bench, "none", NULL), -ENOENT);
	assert_non_null(strstr(bench->why, bench->path));
	assert_non_null(strstr(bench->why, "mkfs.none"));
	free(steal_ptr(bench->why));
	free(bench->path);
	bench->path = path_join(bench->dir, "none/rw.img");
	assert_int_equal(make(bench, "ext4", NULL), -ENOENT);
	assert_non_null(strstr(bench->why, "cannot make a file"));
}

/* Nothing is left of what has failed, and the next try makes an image. */
static void test_steps_that_fail(void **state)
{
	static const char *const points[] = { "upper.making=ENOSPC", "upper.made=EIO" };
	static const int numbers[] = { ENOSPC, EIO };
	struct bench *bench = *state;
	_cleanup_free_ char *armed = path_join(bench->dir, "armed");
	_cleanup_free_ char *variable = xasprintf("@%s", armed);

	setenv("KILN_FAULT", variable, 1);
	for (size_t i = 0; i < ARRAY_SIZE(points); i++) {
		assert_int_equal(file_write_atomic(armed, points[i], strlen(points[i]), 0600, NULL),
				 0);
		assert_int_equal(make(bench, "ext4", NULL), -numbers[i]);
		assert_non_null(strstr(bench->why, bench->path));
		assert_non_null(strstr(bench->why, "fault point upper.ma"));
		free(steal_ptr(bench->why));
		assert_int_equal(rmdir(bench->dir), 0);
		assert_int_equal(mkdir(bench->dir, 0700), 0);
	}
	assert_int_equal(make(bench, "ext4", NULL), 0);
	unsetenv("KILN_FAULT");
}

static void poke(const struct bench *bench, off_t at, uint32_t value)
{
	_cleanup_close_ int fd = open(bench->path, O_WRONLY | O_CLOEXEC);

	assert_int_equal(pwrite(fd, &value, sizeof(value), at), sizeof(value));
}

static void expect_wrong(const struct bench *bench, const char *why)
{
	_cleanup_(error_done) struct error err = {};

	assert_int_equal(check(bench, &err), -EBADMSG);
	assert_non_null(strstr(err.message, bench->path));
	if (!strstr(err.message, why))
		fail_msg("%s", err.message);
}

static void test_what_is_no_image_is_told(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(make(bench, "ext4", NULL), 0);
	assert_int_equal(truncate(bench->path, BYTES - 1024), 0);
	expect_wrong(bench, "truncated");
	assert_int_equal(truncate(bench->path, BYTES), 0);
	poke(bench, 1024 + 0x150, 1); /* 2^32 blocks more, where they count */
	expect_wrong(bench, "truncated");
	poke(bench, 1024 + 0x150, 0);
	poke(bench, 1024 + 0x18, 7);
	expect_wrong(bench, "no ext4");
	poke(bench, 1024 + 0x18, 0);
	assert_int_equal(truncate(bench->path, 1100), 0);
	expect_wrong(bench, "no ext4");
	assert_int_equal(unlink(bench->path), 0);
	assert_int_equal(mkdir(bench->path, 0700), 0);
	expect_wrong(bench, "no file");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_what_is_made_is_an_image),
		TEST(test_what_cannot_be_made_is_told),
		TEST(test_what_is_no_image_is_told),
		TEST(test_steps_that_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
