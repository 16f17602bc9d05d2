/* Those who wait: each is called once, in order, or taken back. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/strbuf.h"
#include "base/waiters.h"

static struct waiters waiters;
static struct strbuf told;

static void on_answer(int number, const struct error *err, void *userdata)
{
	strbuf_addf(&told, "%s=%d(%s) ", (const char *)userdata, number,
		    err ? error_message(err) : "");
}

static void add(waiter_fn fn, const char *name)
{
	waiters_add(&waiters, fn, (void *)name);
}

static void on_answer_again(int number, const struct error *err, void *userdata)
{
	on_answer(number, err, userdata);
	add(on_answer, "again");
	waiters_remove(&waiters, "c");
}

static int teardown(void **state _unused_)
{
	waiters_done(&waiters);
	strbuf_done(&told);
	return 0;
}

static void all_are_called_once_in_order(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};
	int r = error_set(&err, EIO, "no");

	assert_true(waiters_empty(&waiters));
	add(NULL, "nobody");
	assert_true(waiters_empty(&waiters));
	add(on_answer, "a");
	add(on_answer, "b");
	waiters_answer(&waiters, r, &err);
	waiters_answer(&waiters, 0, NULL);
	assert_string_equal(told.text, "a=-5(no) b=-5(no) ");
	assert_true(waiters_empty(&waiters));
}

static void who_comes_meanwhile_waits_for_the_next_time(void **state _unused_)
{
	add(on_answer_again, "a");
	add(on_answer, "b");
	add(on_answer, "c");
	waiters_answer(&waiters, 1, NULL);
	assert_string_equal(told.text, "a=1() b=1() ");
	waiters_answer(&waiters, 2, NULL);
	assert_string_equal(told.text, "a=1() b=1() again=2() ");
}

static void who_is_taken_back_is_not_called(void **state _unused_)
{
	static const char *const names[] = { "a", "b", "c", "b" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		add(on_answer, names[i]);
	waiters_remove(&waiters, names[1]);
	waiters_remove(&waiters, names[2]);
	add(on_answer, "d");
	waiters_answer(&waiters, 0, NULL);
	assert_string_equal(told.text, "a=0() d=0() ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(all_are_called_once_in_order, teardown),
		cmocka_unit_test_teardown(who_comes_meanwhile_waits_for_the_next_time, teardown),
		cmocka_unit_test_teardown(who_is_taken_back_is_not_called, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
