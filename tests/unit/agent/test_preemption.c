#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <unistd.h>

#include "agent/preemption.h"
#include "base/memory.h"
#include "tests/unit/folder.h"

/* The kernel's own files, which keep what is written as it is. */
static void put(const char *name, const char *text)
{
	_cleanup_free_ char *path = path_join(test_folder, name);

	assert_int_equal(file_write_atomic(path, text, strlen(text), 0644, NULL), 0);
}

static void expect(const char *name, const char *wanted)
{
	_cleanup_free_ char *path = path_join(test_folder, name);
	_cleanup_free_ char *text = NULL;

	assert_int_equal(file_read(path, 100, &text, NULL, NULL), 0);
	assert_string_equal(text, wanted);
}

static int limit(struct error *err)
{
	_cleanup_close_ int folder = open(test_folder, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return preemption_limit_in(folder, err);
}

static void the_granularity_becomes_the_latency(void **state _unused_)
{
	put("latency_ns", "6000000\n");
	put("wakeup_granularity_ns", "1000000\n");
	put("tunable_scaling", "1\n");
	assert_int_equal(limit(NULL), 0);
	expect("latency_ns", "6000000\n");
	expect("wakeup_granularity_ns", "6000000\n");
	expect("tunable_scaling", "1\n");
}

/* As from Linux 6.6 on. */
static void a_kernel_without_them_is_left_alone(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};

	put("base_slice_ns", "3000000\n");
	put("tunable_scaling", "1\n");
	assert_int_equal(limit(&err), -ENOENT);
	assert_string_equal(error_message(&err),
			    "cannot read sched/latency_ns of debugfs: No such file or directory");
	expect("base_slice_ns", "3000000\n");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, folder_setup, folder_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(the_granularity_becomes_the_latency),
		TEST(a_kernel_without_them_is_left_alone),
	};

	return cmocka_run_group_tests_name("preemption", tests, NULL, NULL);
}
