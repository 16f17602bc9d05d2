/* Where the images of layers lie on their disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "agent/layers.h"
#include "base/strbuf.h"

static void test_places_are_read(void **state _unused_)
{
	struct layers_part parts[4];
	size_t count = 0;

	assert_int_equal(layers_parse("0+8", parts, 4, &count, NULL), 0);
	assert_int_equal(count, 1);
	assert_int_equal(parts[0].start, 0);
	assert_int_equal(parts[0].length, 4096);
	assert_int_equal(layers_parse("8+1,9+2,11+134217728", parts, 4, &count, NULL), 0);
	assert_int_equal(count, 3);
	assert_int_equal(parts[1].start, 9 * 512);
	assert_int_equal(parts[2].length, UINT64_C(64) << 30);
}

static void test_other_texts_are_none(void **state _unused_)
{
	static const char *const wrong[] = {
		"",
		"8",
		"+",
		"8+",
		"+8",
		"8+0",
		"8+8,",
		",8+8",
		"8+8+8",
		"8,8",
		"-1+8",
		"8+-1",
		" 8+8",
		"8+8 ",
		"8+8;9+9",
		"0x8+8",
		"1+99999999999999999999",
	};
	struct layers_part parts[4];
	size_t count = 7;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		if (layers_parse(wrong[i], parts, 4, &count, NULL) != -EINVAL)
			fail_msg("\"%s\" is taken", wrong[i]);
	assert_int_equal(count, 7);
}

static void test_places_are_counted(void **state _unused_)
{
	struct layers_part parts[2];
	size_t count = 0;

	assert_int_equal(layers_parse("0+1,1+1", parts, 2, &count, NULL), 0);
	assert_int_equal(layers_parse("0+1,1+1,2+1", parts, 2, &count, NULL), -E2BIG);
	assert_int_equal(layers_parse("0+1", parts, 0, &count, NULL), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_places_are_read),
		cmocka_unit_test(test_other_texts_are_none),
		cmocka_unit_test(test_places_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
