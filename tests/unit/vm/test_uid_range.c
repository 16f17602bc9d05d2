/* Ranges of user ids: each is one machine's at most, and only that one gives it back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "factory/base/layout.h"
#include "factory/jail/uid_range.h"
#include "tests/unit/folder.h"

static void test_every_range_is_tried_once(void **state _unused_)
{
	bool seen[UID_RANGES] = {};

	for (unsigned n = 0; n < UID_RANGES; n++) {
		uint32_t uid = uid_range_nth(UID_RANGE_FIRST, "0123456789abcdef", n);
		assert_in_range(uid, UID_RANGE_FIRST, INT32_MAX);
		assert_int_equal((uid - UID_RANGE_FIRST) % UID_RANGE_SIZE, 0);
		uint32_t range = (uid - UID_RANGE_FIRST) / UID_RANGE_SIZE;
		assert_in_range(range, 0, UID_RANGES - 1);
		assert_false(seen[range]);
		seen[range] = true;
	}
	assert_int_not_equal(uid_range_nth(0, "a", 0), uid_range_nth(0, "b", 0));
}

static void test_a_range_is_one_machines(void **state)
{
	assert_int_equal(uid_range_take(*state, 65536, "a", NULL), 0);
	assert_int_equal(uid_range_take(*state, 65536, "b", NULL), -EEXIST);
	assert_int_equal(uid_range_take(*state, 131072, "b", NULL), 0);
	assert_int_equal(uid_range_release(*state, 65536, "b", NULL), 0);
	assert_int_equal(uid_range_take(*state, 65536, "c", NULL), -EEXIST);
	assert_int_equal(uid_range_release(*state, 65536, "a", NULL), 0);
	assert_int_equal(uid_range_release(*state, 65536, "a", NULL), 0);
	assert_int_equal(uid_range_take(*state, 65536, "c", NULL), 0);
}

static void test_the_range_of_a_user_id(void **state)
{
	_cleanup_free_ char *foreign = path_join(*state, "uids/200000");

	assert_int_equal(uid_range_find(*state, 70000), 0);
	assert_int_equal(uid_range_take(*state, 70000, "a", NULL), 0);
	assert_int_equal(uid_range_take(*state, 200000, "b", NULL), 0);
	assert_int_equal(uid_range_find(*state, 69999), 0);
	assert_int_equal(uid_range_find(*state, 70000), 70000);
	assert_int_equal(uid_range_find(*state, 135535), 70000);
	assert_int_equal(uid_range_find(*state, 135536), 0);
	assert_int_equal(uid_range_find(*state, 200001), 200000);
	if (geteuid() != 0)
		skip();
	assert_int_equal(lchown(foreign, 65534, 65534), 0);
	assert_int_equal(uid_range_find(*state, 200001), 0);
}

/* Of a machine that was made when ranges began elsewhere. */
static void test_ranges_do_not_overlap(void **state)
{
	assert_int_equal(uid_range_take(*state, 200000, "a", NULL), 0);
	assert_int_equal(uid_range_take(*state, 134465, "b", NULL), -EEXIST);
	assert_int_equal(uid_range_take(*state, 265535, "b", NULL), -EEXIST);
	assert_int_equal(uid_range_take(*state, 134464, "b", NULL), 0);
	assert_int_equal(uid_range_take(*state, 265536, "b", NULL), 0);
	assert_false(uid_range_is(*state, 265535, "b"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_every_range_is_tried_once),
		T(test_a_range_is_one_machines),
		T(test_the_range_of_a_user_id),
		T(test_ranges_do_not_overlap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
