#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "base/error.h"

static void test_set_and_wrap(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};

	assert_string_equal(error_message(&err), "no error");
	assert_int_equal(error_set(&err, ENOENT, "no %s", "kernel"), -ENOENT);
	assert_string_equal(error_message(&err), "no kernel");
	assert_int_equal(error_wrap(&err, "cannot bake template %s", "default"), -ENOENT);
	assert_int_equal(err.number, ENOENT);
	assert_string_equal(error_message(&err), "cannot bake template default: no kernel");
}

static void test_either_sign(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};

	assert_int_equal(error_set(&err, -EBUSY, "x"), -EBUSY);
	assert_int_equal(err.number, EBUSY);
	assert_int_equal(error_set_errno(&err, -EACCES, "cannot open %s", "f"), -EACCES);
	assert_string_equal(error_message(&err), "cannot open f: Permission denied");
	assert_int_equal(error_set_errno(&err, 9999, "odd"), -9999);
	assert_string_equal(error_message(&err), "odd: error 9999");
}

static void test_failure_is_never_success(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};

	assert_int_equal(error_set(&err, 0, "forgot errno"), -EIO);
	assert_int_equal(error_wrap(NULL, "context"), -EIO);
	error_done(&err);
	assert_int_equal(error_wrap(&err, "context"), -EIO);
	assert_string_equal(error_message(&err), "context");
}

static void test_null_error(void **state _unused_)
{
	assert_int_equal(error_set(NULL, ENOSPC, "%d", 1), -ENOSPC);
	assert_int_equal(error_set_errno(NULL, -ENOSPC, "%d", 1), -ENOSPC);
	error_done(NULL);
	assert_string_equal(error_message(NULL), "no error");
}

static void test_own_message_as_argument(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};

	error_set(&err, EIO, "inner");
	error_set(&err, EINVAL, "outer (%s)", error_message(&err));
	assert_string_equal(error_message(&err), "outer (inner)");
}

static void test_move(void **state _unused_)
{
	_cleanup_(error_done) struct error to = {}, from = {};

	error_set(&to, EIO, "old");
	error_set(&from, EBUSY, "new");
	error_move(&to, &from);
	assert_int_equal(to.number, EBUSY);
	assert_string_equal(error_message(&to), "new");
	assert_null(from.message);
	error_move(NULL, &to);
	assert_null(to.message);
}

static void test_done_keeps_errno(void **state _unused_)
{
	struct error err = {};

	error_set(&err, EIO, "x");
	errno = E2BIG;
	error_done(&err);
	assert_int_equal(errno, E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set_and_wrap),
		cmocka_unit_test(test_either_sign),
		cmocka_unit_test(test_failure_is_never_success),
		cmocka_unit_test(test_null_error),
		cmocka_unit_test(test_own_message_as_argument),
		cmocka_unit_test(test_move),
		cmocka_unit_test(test_done_keeps_errno),
	};

	return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
