#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/trace.h"

static char dir[] = "/tmp/kiln-trace.XXXXXX";

static int setup(void **state _unused_)
{
	unsetenv(TRACE_ENV);
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state _unused_)
{
	trace_init("test", "", NULL);
	return path_remove(dir, NULL);
}

/* The lines of a process' file; the caller drops the array. */
static json_t *lines_of(const char *who, pid_t pid)
{
	_cleanup_free_ char *path = xasprintf("%s/deep/%s-%d.jsonl", dir, who, (int)pid);
	_cleanup_free_ char *text = NULL;
	json_t *lines = json_array();
	char *rest;

	if (file_read(path, 65536, &text, NULL, NULL) < 0)
		return lines;
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		json_t *object = json_loads(line, 0, NULL);
		assert_non_null(object);
		json_array_append_new(lines, object);
	}
	return lines;
}

static const char *string_at(json_t *lines, size_t i, const char *key)
{
	return json_string_value(json_object_get(json_array_get(lines, i), key));
}

static json_int_t number_at(json_t *lines, size_t i, const char *key)
{
	return json_integer_value(json_object_get(json_array_get(lines, i), key));
}

static void test_off(void **state _unused_)
{
	trace_init("test", NULL, "s1");
	assert_false(trace_on);
	assert_int_equal(trace_begin(), 0);
	trace_end(TRACE_CLAIM, NULL, 0);

	json_t *lines = lines_of("test", getpid());
	assert_int_equal(json_array_size(lines), 0);
	json_decref(lines);
}

static void test_lines(void **state _unused_)
{
	_cleanup_free_ char *deep = path_join(dir, "deep");
	struct trace_record foreign = { .step = TRACE_STORAGE, .end_ns = 1000, .dur_ns = 7 };

	setenv(TRACE_ENV, deep, 1);
	trace_init("test", NULL, "s1");
	unsetenv(TRACE_ENV);
	assert_true(trace_on);

	uint64_t begin = trace_begin();
	errno = E2BIG;
	trace_end(TRACE_CLAIM, NULL, begin);
	assert_int_equal(errno, E2BIG);
	trace_end(TRACE_EXIT, "s2", 0);
	trace_end(TRACE_EXIT, "not \"an\" id", 0);
	trace_write_foreign("agent", &foreign, 1000 + 5000000000);

	json_t *lines = lines_of("test", getpid());
	assert_int_equal(json_array_size(lines), 4);
	assert_string_equal(string_at(lines, 0, "who"), "test");
	assert_string_equal(string_at(lines, 0, "id"), "s1");
	assert_string_equal(string_at(lines, 0, "step"), "claim");
	assert_int_equal(number_at(lines, 0, "mono_ns") - number_at(lines, 0, "dur_ns"), begin);
	assert_string_equal(string_at(lines, 1, "id"), "s2");
	assert_null(json_object_get(json_array_get(lines, 1), "dur_ns"));
	assert_string_equal(string_at(lines, 2, "id"), "");
	assert_string_equal(string_at(lines, 3, "who"), "agent");
	/* Five seconds ago by its clock is five seconds ago by ours. */
	assert_in_range(number_at(lines, 2, "mono_ns") - number_at(lines, 3, "mono_ns"), 4000000000,
			5000000000);
	assert_in_range(number_at(lines, 2, "ts_ns") - number_at(lines, 3, "ts_ns"), 4000000000,
			5000000000);
	json_decref(lines);
}

static void test_child_has_its_own_file(void **state _unused_)
{
	_cleanup_free_ char *deep = path_join(dir, "deep");
	int status;

	trace_init("parent", deep, NULL);
	pid_t pid = fork();

	if (pid == 0) {
		trace_init("child", deep, "s3");
		trace_end(TRACE_CLAIM, NULL, 0);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);

	json_t *lines = lines_of("child", pid);
	assert_int_equal(json_array_size(lines), 1);
	assert_string_equal(string_at(lines, 0, "id"), "s3");
	json_decref(lines);
}

static void test_bad_folder_is_off(void **state _unused_)
{
	trace_init("test", "relative", NULL);
	assert_false(trace_on);
	trace_init("test", "/proc/self/cmdline/x", NULL);
	assert_false(trace_on);
}

static void test_memory(void **state _unused_)
{
	const struct trace_record *records;

	trace_init("test", "", NULL);
	assert_int_equal(trace_take(&records), 0);
	trace_keep();
	for (int i = 0; i < TRACE_RECORDS_MAX + 3; i++)
		trace_end(i == 0 ? TRACE_CGROUP : TRACE_CLONE, NULL, 1);
	assert_int_equal(trace_take(&records), TRACE_RECORDS_MAX);
	assert_int_equal(records[0].step, TRACE_CGROUP);
	assert_int_equal(records[1].step, TRACE_CLONE);
	assert_int_equal(records[0].dur_ns, records[0].end_ns - 1);
	assert_int_equal(trace_take(&records), 0);
}

static void test_names(void **state _unused_)
{
	for (int i = 0; i <= TRACE_REMOVE_CONTAINER; i++)
		assert_int_equal(trace_step_from_string(trace_step_to_string((enum trace_step)i)),
				 i);
	assert_int_equal(trace_step_from_string("nothing"), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_off),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_child_has_its_own_file),
		cmocka_unit_test(test_bad_folder_is_off),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
