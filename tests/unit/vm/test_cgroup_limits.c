/* What is written into a control group's files, of v1 and v2. The folder is one of the test's own:
 * hosts have the one or the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"
#include "factory/jail/cgroup_limits.h"

static const struct cgroup_limits limits = {
	.memory_bytes = (uint64_t)5 << 30,
	.threads = 131,
	.vcpus = 3,
};

static void put(const char *folder, const char *name, const char *text)
{
	_cleanup_free_ char *path = path_join(folder, name);

	assert_int_equal(file_write_atomic(path, text, strlen(text), 0600, NULL), 0);
}

/* Empties it, as a kernel's file is at the next reading. */
static void expect_written(const char *folder, const char *name, const char *value)
{
	_cleanup_free_ char *path = path_join(folder, name);
	_cleanup_free_ char *text = NULL;

	assert_int_equal(file_read(path, 4096, &text, NULL, NULL), 0);
	assert_string_equal(text, value);
	put(folder, name, "");
}

static int setup(void **state)
{
	static const char *const files[] = { "memory.max",       "memory.limit_in_bytes",
					     "pids.max",         "cpu.weight",
					     "cpu.shares",       "cpu.max",
					     "cpu.cfs_quota_us", NULL };
	char *folder = xstrdup("/tmp/kiln-test-cgroup.XXXXXX");

	assert_non_null(mkdtemp(folder));
	for (size_t i = 0; files[i]; i++)
		put(folder, files[i], "");
	*state = folder;
	return 0;
}

static int teardown(void **state)
{
	assert_int_equal(path_remove(*state, NULL), 0);
	free(*state);
	return 0;
}

static void remove_file(const char *folder, const char *name)
{
	_cleanup_free_ char *path = path_join(folder, name);

	assert_int_equal(unlink(path), 0);
}

static void test_v2_has_all_in_one_folder(void **state)
{
	const char *folder = *state;

	assert_int_equal(cgroup_limits_write(folder, NULL, &limits, NULL), 0);
	expect_written(folder, "memory.max", "5368709120");
	expect_written(folder, "pids.max", "131");
	expect_written(folder, "cpu.weight", "300");
	expect_written(folder, "cpu.max", "400000 100000");
	expect_written(folder, "memory.limit_in_bytes", "");
	expect_written(folder, "cpu.shares", "");
	expect_written(folder, "cpu.cfs_quota_us", "");
}

static void test_v1_has_each_in_its_controllers(void **state)
{
	const char *folder = *state;

	assert_int_equal(cgroup_limits_write(folder, "memory", &limits, NULL), 0);
	expect_written(folder, "memory.limit_in_bytes", "5368709120");
	expect_written(folder, "pids.max", "");
	assert_int_equal(cgroup_limits_write(folder, "pids", &limits, NULL), 0);
	expect_written(folder, "pids.max", "131");
	assert_int_equal(cgroup_limits_write(folder, "cpu", &limits, NULL), 0);
	expect_written(folder, "cpu.shares", "3072");
	expect_written(folder, "cpu.cfs_quota_us", "400000");
	assert_int_equal(cgroup_limits_write(folder, "devices", &limits, NULL), 0);
	expect_written(folder, "memory.max", "");
	expect_written(folder, "cpu.weight", "");
	expect_written(folder, "cpu.max", "");
}

static void test_processors_follow_growth(void **state)
{
	const char *folder = *state;

	assert_int_equal(cgroup_limits_write_vcpus(folder, NULL, 8, NULL), 0);
	expect_written(folder, "cpu.weight", "800");
	expect_written(folder, "cpu.max", "900000 100000");
	expect_written(folder, "memory.max", "");
	expect_written(folder, "pids.max", "");
	assert_int_equal(cgroup_limits_write_vcpus(folder, "cpu", 8, NULL), 0);
	expect_written(folder, "cpu.shares", "8192");
	expect_written(folder, "cpu.cfs_quota_us", "900000");
	assert_int_equal(cgroup_limits_write_vcpus(folder, "memory", 8, NULL), 0);
	expect_written(folder, "memory.limit_in_bytes", "");
}

/* v2's largest; the kernel would refuse more. */
/* What the kernel says, with its line end, is written as it was. */
static void test_copied(void **state)
{
	static const char *const files[] = { "memory.max", "pids.max", "cpu.weight", "cpu.max" };
	static const char *const said[] = { "max\n", "131\n", "300\n", "400000 100000\n" };
	static const char *const written[] = { "max", "131", "300", "400000 100000" };
	_cleanup_free_ char *to = path_join(*state, "to");

	assert_int_equal(dir_make(to, 0700, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		put(*state, files[i], said[i]);
		put(to, files[i], "");
	}
	assert_int_equal(cgroup_limits_copy(*state, to, NULL, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		expect_written(to, files[i], written[i]);
	put(*state, "cpu.shares", "2048\n");
	put(to, "cpu.shares", "");
	put(*state, "memory.limit_in_bytes", "4096\n");
	put(to, "memory.limit_in_bytes", "");
	assert_int_equal(cgroup_limits_copy(*state, to, "memory", NULL), 0);
	expect_written(to, "memory.limit_in_bytes", "4096");
	expect_written(to, "cpu.shares", "");
}

static void test_weight_has_an_end(void **state)
{
	const char *folder = *state;

	assert_int_equal(cgroup_limits_write_vcpus(folder, NULL, 200, NULL), 0);
	expect_written(folder, "cpu.weight", "10000");
	expect_written(folder, "cpu.max", "20100000 100000");
}

static void test_what_may_be_missing(void **state)
{
	_cleanup_(error_done) struct error err = {};
	const char *folder = *state;

	remove_file(folder, "cpu.max");
	remove_file(folder, "cpu.weight");
	assert_int_equal(cgroup_limits_write(folder, NULL, &limits, NULL), 0);
	expect_written(folder, "memory.max", "5368709120");
	assert_int_equal(cgroup_limits_write_vcpus(folder, NULL, 2, NULL), 0);
	remove_file(folder, "pids.max");
	assert_int_equal(cgroup_limits_write(folder, NULL, &limits, &err), -ENOENT);
	assert_non_null(strstr(error_message(&err), "pids.max"));
}

static void test_the_parent_weighs_as_the_host(void **state)
{
	const char *folder = *state;

	assert_int_equal(cgroup_limits_weigh(folder, NULL, 4, NULL), 0);
	expect_written(folder, "cpu.weight", "400");
	assert_int_equal(cgroup_limits_weigh(folder, "cpu", 4, NULL), 0);
	expect_written(folder, "cpu.shares", "4096");
	assert_int_equal(cgroup_limits_weigh(folder, "memory", 4, NULL), 0);
	remove_file(folder, "cpu.weight");
	assert_int_equal(cgroup_limits_weigh(folder, NULL, 4, NULL), -ENOENT);
}

#define LIMITS(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIMITS(test_v2_has_all_in_one_folder),
		LIMITS(test_v1_has_each_in_its_controllers),
		LIMITS(test_processors_follow_growth),
		LIMITS(test_copied),
		LIMITS(test_weight_has_an_end),
		LIMITS(test_what_may_be_missing),
		LIMITS(test_the_parent_weighs_as_the_host),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
