#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/log_limit.h"
#include "base/memory.h"

static int pipe_fds[2];

static int setup(void **state _unused_)
{
	return pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK);
}

static int teardown(void **state _unused_)
{
	struct log_left_out left_out;

	while (log_limit_take(0, &left_out)) /* of no second there was */
		;
	log_init("kiln", STDERR_FILENO, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	close(pipe_fds[0]);
	close_fd(pipe_fds[1]);
	return 0;
}

/* What was logged since the last call; the caller frees. */
static char *logged(void)
{
	char *text = xcalloc(1, 65536);

	if (read(pipe_fds[0], text, 65535) < 0)
		text[0] = '\0';
	return text;
}

static size_t count_of(const char *text, char c)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == c;
	return n;
}

static void test_text(void **state _unused_)
{
	log_init("kiln-test", pipe_fds[1], LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	errno = E2BIG;
	log_info("5f3c", "parked after %u ms", 41U);
	assert_int_equal(errno, E2BIG);

	_cleanup_free_ char *line = logged();
	_cleanup_free_ char *want = xasprintf(" INFO kiln-test[%d] 5f3c: parked after 41 ms\n",
					      (int)getpid());

	assert_int_equal(strspn(line, "0123456789-T:.Z"), 24);
	assert_string_equal(line + 24, want);
	log_warning(NULL, "no object");

	_cleanup_free_ char *second = logged();

	assert_non_null(strstr(second, "]: no object\n"));
}

static void test_level(void **state _unused_)
{
	log_init("kiln-test", pipe_fds[1], LOG_LEVEL_WARNING, LOG_FORMAT_TEXT);
	log_info("x", "quiet");

	_cleanup_free_ char *none = logged();

	assert_string_equal(none, "");
	assert_false(log_enabled(LOG_LEVEL_DEBUG));
	log_set_level(LOG_LEVEL_DEBUG);
	assert_true(log_enabled(LOG_LEVEL_DEBUG));
	log_debug("x", "heard");

	_cleanup_free_ char *some = logged();

	assert_non_null(strstr(some, "DEBUG"));
}

static void test_text_stays_one_line(void **state _unused_)
{
	log_init("kiln-test", pipe_fds[1], LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	log_info("a\nb", "one\ntwo\r\x1b[31mred\x7f");

	_cleanup_free_ char *line = logged();

	assert_int_equal(count_of(line, '\n'), 1);
	assert_int_equal(count_of(line, '\x1b'), 0);
	assert_non_null(strstr(line, " a\\nb: one\\ntwo\\x0d\\x1b[31mred\\x7f\n"));
}

/* U+009B begins a terminal sequence as ESC [ does, in UTF-8 and, on some terminals, as a byte. */
static void test_high_control_characters(void **state _unused_)
{
	log_init("kiln-test", pipe_fds[1], LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	log_info("a", "gr\xc3\xbc\xc3\x9f \xc2\x9b"
		      "31m \x9b"
		      "31m \xc2\x80\xc2\x9f\xc2\xa0");

	_cleanup_free_ char *line = logged();

	assert_non_null(strstr(line, ": gr\xc3\xbc\xc3\x9f \\xc2\\x9b31m \\x9b31m "
				     "\\xc2\\x80\\xc2\\x9f\xc2\xa0\n"));
	log_set_format(LOG_FORMAT_JSON);
	log_info("a", "\xc2\x9b");

	_cleanup_free_ char *json = logged();

	assert_non_null(strstr(json, "\"\\u009B\""));
}

static unsigned lines_of(const char *object, unsigned count)
{
	unsigned lines = 0;

	for (unsigned i = 0; i < count; i++) {
		log_write(LOG_LEVEL_INFO, object, "line %u", i);
		_cleanup_free_ char *text = logged();
		lines += strstr(text, "line ") && !strstr(text, "left out");
	}
	return lines;
}

/* Two seconds at most, should one end meanwhile. */
static void test_a_flood_is_left_out(void **state _unused_)
{
	log_init("kiln-test", pipe_fds[1], LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	time_t begun = time(NULL);
	unsigned lines = lines_of("flooder", 5000);
	/* Of each second that it has gone on in, and of one that two clocks may differ by. */
	unsigned seconds = (unsigned)(time(NULL) - begun) + 2;
	assert_in_range(lines, LOG_LIMIT_LINES, seconds * LOG_LIMIT_LINES);
	assert_int_equal(lines_of("another", 1), 1);
	log_audit("flooder", "audit");

	_cleanup_free_ char *audit = logged();

	assert_non_null(strstr(audit, "audit"));
}

static void test_what_is_left_out_is_told(void **state _unused_)
{
	struct log_left_out left_out;
	unsigned passed = 0;

	for (unsigned i = 0; i < 1000; i++)
		passed += log_limit_pass("told", "x %d", 7000);
	assert_int_equal(passed, LOG_LIMIT_LINES);
	assert_false(log_limit_take(7000, &left_out));
	assert_true(log_limit_pass(NULL, "told", 7000));
	assert_true(log_limit_take(7001, &left_out));
	assert_int_equal(left_out.lines, 1000 - LOG_LIMIT_LINES);
	assert_string_equal(left_out.object, "told");
	assert_string_equal(left_out.fmt, "x %d");
	assert_false(log_limit_take(7001, &left_out));
	assert_true(log_limit_pass("told", "x %d", 7001));
	for (unsigned i = 0; i < 1000; i++)
		(void)log_limit_pass("told", "x %d", 7001);
	log_init("kiln-test", pipe_fds[1], LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	log_audit("id", "now"); /* this second is another one */

	_cleanup_free_ char *text = logged();

	assert_non_null(strstr(text, " WARNING "));
	assert_non_null(strstr(text, " told: 901 more like \"x %d\" were left out\n"));
}

static void check_json(const char *object, const char *message, const char *want_message)
{
	log_error(object, "%s", message);

	_cleanup_free_ char *line = logged();

	assert_int_equal(count_of(line, '\n'), 1);

	json_t *root = json_loads(line, 0, NULL);

	assert_non_null(root);
	assert_string_equal(json_string_value(json_object_get(root, "message")), want_message);
	assert_string_equal(json_string_value(json_object_get(root, "level")), "error");
	assert_string_equal(json_string_value(json_object_get(root, "program")), "kiln-test");
	assert_int_equal(json_integer_value(json_object_get(root, "pid")), getpid());
	assert_int_equal(strlen(json_string_value(json_object_get(root, "time"))), 24);
	if (object)
		assert_string_equal(json_string_value(json_object_get(root, "object")), object);
	else
		assert_true(json_is_null(json_object_get(root, "object")));
	assert_int_equal(json_object_size(root), 6);
	json_decref(root);
}

static void test_json(void **state _unused_)
{
	log_init("kiln-test", pipe_fds[1], LOG_LEVEL_INFO, LOG_FORMAT_JSON);
	check_json("5f3c", "plain", "plain");
	check_json(NULL, "quote \" back \\ line\nnext\ttab", "quote \" back \\ line\nnext\ttab");
	check_json("id", "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f");
	check_json("id", "broken \xff\xc3 bytes", "broken ?? bytes");
}

static void test_long_message_is_cut(void **state _unused_)
{
	_cleanup_free_ char *message = xcalloc(1, 100001);

	memset(message, 'x', 100000);
	log_init("kiln-test", pipe_fds[1], LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	log_info("id", "%s", message);

	_cleanup_free_ char *line = logged();

	assert_true(strlen(line) < 8400);
	assert_non_null(strstr(line, "x...\n"));
}

static void test_failed_write_is_dropped(void **state _unused_)
{
	log_init("kiln-test", -1, LOG_LEVEL_INFO, LOG_FORMAT_JSON);
	errno = 0;
	log_error("id", "lost");
	assert_int_equal(errno, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_text, setup, teardown),
		cmocka_unit_test_setup_teardown(test_level, setup, teardown),
		cmocka_unit_test_setup_teardown(test_text_stays_one_line, setup, teardown),
		cmocka_unit_test_setup_teardown(test_high_control_characters, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_flood_is_left_out, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_left_out_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(test_json, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_message_is_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failed_write_is_dropped, setup, teardown),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
