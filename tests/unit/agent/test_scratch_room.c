#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/scratch_room.h"

enum { BLOCKS = 2621440 }; /* 10 GiB */

static void test_a_roomy_host_leaves_the_reserve_as_it_is(void **state _unused_)
{
	assert_int_equal(scratch_room_reserve(BLOCKS, BLOCKS, BLOCKS), 4096);
	assert_int_equal(scratch_room_reserve(BLOCKS, 1000, UINT64_MAX), 4096);
	assert_int_equal(scratch_room_reserve(5000, 5000, 5000), 100);
}

static void test_what_the_host_lacks_is_reserved(void **state _unused_)
{
	assert_int_equal(scratch_room_reserve(BLOCKS, 2000000, 500000), 1500000);
	assert_int_equal(scratch_room_reserve(BLOCKS, 2000000, 0), 2000000);
	/* Not less than ext4 keeps by itself. */
	assert_int_equal(scratch_room_reserve(BLOCKS, 2000000, 1999000), 4096);
	assert_int_equal(scratch_room_reserve(BLOCKS, 0, 0), 4096);
}

static void test_what_is_unwritten(void **state _unused_)
{
	uint64_t bytes = 0;

	assert_int_equal(scratch_room_unwritten("MemTotal:         242160 kB\n"
						"Dirty:              1024 kB\n"
						"Writeback:             4 kB\n"
						"WritebackTmp:         64 kB\n",
						&bytes, NULL),
			 0);
	assert_int_equal(bytes, 1028 * 1024);
}

static void test_a_kernel_that_does_not_say(void **state _unused_)
{
	uint64_t bytes = 1;

	assert_int_equal(scratch_room_unwritten("", &bytes, NULL), -EPROTO);
	assert_int_equal(scratch_room_unwritten("MemTotal: 1 kB\nDirty: 1 kB\n", &bytes, NULL),
			 -EPROTO);
	assert_int_equal(
		scratch_room_unwritten("MemTotal: 1 kB\nDirty: 1\nWriteback: 2\n", &bytes, NULL),
		-EPROTO);
	assert_int_equal(bytes, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_roomy_host_leaves_the_reserve_as_it_is),
		cmocka_unit_test(test_what_the_host_lacks_is_reserved),
		cmocka_unit_test(test_what_is_unwritten),
		cmocka_unit_test(test_a_kernel_that_does_not_say),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
