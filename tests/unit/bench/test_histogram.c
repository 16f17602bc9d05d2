/* The histogram: three digits, everywhere in its range. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
/* After what it needs. */
#include <cmocka.h>

#include "base/memory.h"
#include "bench/histogram.h"

static void small_values_are_exact(void **state _unused_)
{
	_cleanup_(histogram_free_cleanup) struct histogram *histogram = histogram_new();
	struct histogram_part part = {};

	for (uint64_t value = 0; value < 2048; value++)
		histogram_record(histogram, value);
	for (uint64_t value = 0; value < 2048; value++) {
		assert_true(histogram_next(histogram, &part));
		assert_int_equal(part.highest, value);
		assert_int_equal(part.count, 1);
	}
	assert_false(histogram_next(histogram, &part));
}

static void every_value_keeps_three_digits(void **state _unused_)
{
	for (uint64_t value = 1; value < HISTOGRAM_MAX; value += value / 7 + 1) {
		_cleanup_(histogram_free_cleanup) struct histogram *histogram = histogram_new();
		struct histogram_part part = {};

		histogram_record(histogram, value);
		assert_true(histogram_next(histogram, &part));
		assert_in_range(part.highest, value, value + value / 1000);
		assert_int_equal(histogram_quantile(histogram, 0.5), value);
	}
}

static void parts_grow(void **state _unused_)
{
	_cleanup_(histogram_free_cleanup) struct histogram *histogram = histogram_new();
	struct histogram_part part = {};
	uint64_t last = 0;

	for (uint64_t value = 1; value < HISTOGRAM_MAX; value += value / 500 + 1)
		histogram_record(histogram, value);
	assert_true(histogram_next(histogram, &part));
	for (last = part.highest; histogram_next(histogram, &part); last = part.highest)
		assert_true(part.highest > last);
}

static void what_is_too_large_is_counted_as_the_largest(void **state _unused_)
{
	_cleanup_(histogram_free_cleanup) struct histogram *histogram = histogram_new();

	histogram_record(histogram, UINT64_MAX);
	histogram_record(histogram, HISTOGRAM_MAX);
	assert_int_equal(histogram_count(histogram), 2);
	assert_int_equal(histogram_quantile(histogram, 0), HISTOGRAM_MAX);
}

static void quantiles_follow_the_counts(void **state _unused_)
{
	_cleanup_(histogram_free_cleanup) struct histogram *histogram = histogram_new();

	assert_int_equal(histogram_quantile(histogram, 0.5), 0);
	for (uint64_t value = 1; value <= 1000; value++)
		histogram_record(histogram, value);
	assert_int_equal(histogram_quantile(histogram, 0), 1);
	assert_int_equal(histogram_quantile(histogram, 0.5), 500);
	assert_int_equal(histogram_quantile(histogram, 0.99), 990);
	assert_int_equal(histogram_quantile(histogram, 0.999), 999);
	assert_int_equal(histogram_quantile(histogram, 1), 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_values_are_exact),
		cmocka_unit_test(every_value_keeps_three_digits),
		cmocka_unit_test(parts_grow),
		cmocka_unit_test(what_is_too_large_is_counted_as_the_largest),
		cmocka_unit_test(quantiles_follow_the_counts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
