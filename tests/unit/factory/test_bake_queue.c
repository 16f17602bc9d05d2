/* Turns come one after another, in the order they were asked for, whoever leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "factory/bake/bake_queue.h"

static unsigned given[4];

static void on_turn(void *userdata)
{
	(*(unsigned *)userdata)++;
}

static void run(struct loop *loop)
{
	bool never = false;

	(void)loop_run_until(loop, &never, 1);
}

static void test_one_at_a_time(void **state _unused_)
{
	struct loop *loop = loop_new();
	struct bake_queue *queue = bake_queue_new(loop);
	struct bake_turn turns[4];

	for (int i = 0; i < 4; i++) {
		turns[i] = (struct bake_turn){ .fn = on_turn, .userdata = &given[i] };
		bake_queue_enter(queue, &turns[i]);
	}
	assert_int_equal(given[0], 0); /* not from within */
	run(loop);
	assert_int_equal(given[0], 1);
	assert_int_equal(given[1], 0);
	bake_queue_leave(queue, &turns[1]); /* gave up waiting */
	bake_queue_leave(queue, &turns[0]);
	run(loop);
	assert_int_equal(given[1], 0);
	assert_int_equal(given[2], 1);
	assert_int_equal(given[3], 0);
	bake_queue_leave(queue, &turns[2]);
	bake_queue_leave(queue, &turns[2]); /* nothing more to leave */
	bake_queue_enter(queue, &turns[2]);
	run(loop);
	assert_int_equal(given[3], 1);
	assert_int_equal(given[2], 1);
	bake_queue_leave(queue, &turns[3]);
	bake_queue_free(queue); /* with a turn about to be given */
	loop_free(loop);
	assert_int_equal(given[2], 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_one_at_a_time) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
