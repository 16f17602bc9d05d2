/* Quantiles, their intervals, ratios, random arrivals. */

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
/* After what it needs. */
#include <cmocka.h>

#include "base/memory.h"
#include "bench/arrivals.h"
#include "bench/stats.h"

#define TRIALS 400

static void quantiles_are_nearest_ranks(void **state _unused_)
{
	const double samples[] = { 5, 1, 4, 2, 3 };

	assert_true(stats_quantile(samples, 5, 0.5) == 3);
	assert_true(stats_quantile(samples, 5, 0) == 1);
	assert_true(stats_quantile(samples, 5, 0.2) == 1);
	assert_true(stats_quantile(samples, 5, 0.21) == 2);
	assert_true(stats_quantile(samples, 5, 1) == 5);
	assert_true(stats_quantile(NULL, 0, 0.5) == 0);
}

/* The ranks of the tables (Conover, Practical Nonparametric Statistics): n = 10: 2nd and 9th. */
static void interval_of_the_median_of_ten_is_by_the_book(void **state _unused_)
{
	double samples[10];

	for (int i = 0; i < 10; i++)
		samples[i] = 10 - i;
	struct interval interval = stats_quantile_interval(samples, 10, 0.5);
	assert_true(interval.low == 2);
	assert_true(interval.value == 5);
	assert_true(interval.high == 9);
}

static void interval_of_few_samples_is_all_of_them(void **state _unused_)
{
	const double samples[] = { 3, 1, 2 };

	struct interval interval = stats_quantile_interval(samples, 3, 0.5);
	assert_true(interval.low == 1 && interval.high == 3);
	interval = stats_quantile_interval(samples, 1, 0.5);
	assert_true(interval.low == 3 && interval.value == 3 && interval.high == 3);
	interval = stats_quantile_interval(samples, 0, 0.5);
	assert_true(interval.low == 0 && interval.high == 0);
}

static void draw(struct rng *rng, double mean, double *samples, size_t count)
{
	for (size_t i = 0; i < count; i++)
		samples[i] = rng_exponential(rng, mean);
}

/* 95 %: of 400 intervals some 380 hold the truth; fewer than 360 would be six deviations off. */
static void intervals_hold_the_truth_as_often_as_they_say(void **state _unused_)
{
	struct rng rng = { .state = 1 };
	unsigned median_held = 0, tail_held = 0;
	double samples[61];

	for (int i = 0; i < TRIALS; i++) {
		draw(&rng, 1, samples, ARRAY_SIZE(samples));
		struct interval median = stats_quantile_interval(samples, 61, 0.5);
		struct interval tail = stats_quantile_interval(samples, 61, 0.9);
		median_held += median.low <= log(2) && log(2) <= median.high;
		tail_held += tail.low <= log(10) && log(10) <= tail.high;
	}
	assert_in_range(median_held, 360, TRIALS);
	assert_in_range(tail_held, 355, TRIALS);
}

static void ratio_holds_the_truth(void **state _unused_)
{
	struct rng rng = { .state = 7 };
	double a[200], b[200];

	draw(&rng, 3, a, ARRAY_SIZE(a));
	draw(&rng, 1, b, ARRAY_SIZE(b));
	struct interval ratio = stats_ratio(&(struct sample){ a, 200, 0.5 },
					    &(struct sample){ b, 200, 0.5 });
	assert_true(ratio.low < 3 && 3 < ratio.high);
	assert_true(ratio.low > 1.5 && ratio.high < 6);
	assert_true(ratio.low <= ratio.value && ratio.value <= ratio.high);
}

static void ratio_is_the_same_every_time(void **state _unused_)
{
	const double a[] = { 3, 4, 5, 9 }, b[] = { 1, 2, 2, 3 };

	struct interval one = stats_ratio(&(struct sample){ a, 4, 0.5 },
					  &(struct sample){ b, 4, 0.5 });
	struct interval two = stats_ratio(&(struct sample){ a, 4, 0.5 },
					  &(struct sample){ b, 4, 0.5 });
	assert_memory_equal(&one, &two, sizeof(one));
	assert_true(one.value == 2);
}

/* A tail and the median it is divided by are of the same resample: never below 1. */
static void ratio_to_itself_draws_once(void **state _unused_)
{
	struct rng rng = { .state = 11 };
	double a[100];

	draw(&rng, 1, a, ARRAY_SIZE(a));
	struct interval tail = stats_ratio(&(struct sample){ a, 100, 0.99 },
					   &(struct sample){ a, 100, 0.5 });
	assert_true(tail.low >= 1);
	struct interval self = stats_ratio(&(struct sample){ a, 100, 0.5 },
					   &(struct sample){ a, 100, 0.5 });
	assert_true(self.low == 1 && self.high == 1);
}

static void uniform_numbers_fill_their_range(void **state _unused_)
{
	struct rng rng = { .state = 3 };
	unsigned tenths[10] = {};

	for (int i = 0; i < 10000; i++) {
		double u = rng_uniform(&rng);
		assert_true(u > 0 && u <= 1);
		tenths[u == 1 ? 9 : (int)(u * 10)]++;
	}
	for (int i = 0; i < 10; i++)
		assert_in_range(tenths[i], 850, 1150);
}

/* A Poisson process: as many arrivals as asked for, in order, with gaps whose deviation is their
 * mean. */
static void arrivals_are_poisson(void **state _unused_)
{
	struct rng rng = { .state = 5 };
	struct arrival *arrivals = NULL;
	double sum = 0, squares = 0;

	size_t count = arrivals_poisson(&rng, 50, 100, &arrivals);
	assert_in_range(count, 4750, 5250);
	for (size_t i = 0; i < count; i++) {
		uint64_t before = i > 0 ? arrivals[i - 1].at_ns : 0;
		assert_true(arrivals[i].at_ns >= before);
		double gap = (double)(arrivals[i].at_ns - before) / 1e9;
		sum += gap;
		squares += gap * gap;
	}
	assert_true(arrivals[count - 1].at_ns < 100000000000u);
	double mean = sum / (double)count;
	double deviation = sqrt(squares / (double)count - mean * mean);
	assert_true(fabs(mean - 0.02) < 0.001);
	assert_true(fabs(deviation / mean - 1) < 0.05);
	free(arrivals);
}

static void no_arrivals_in_no_time(void **state _unused_)
{
	struct rng rng = { .state = 5 };
	struct arrival *arrivals = NULL;

	assert_int_equal(arrivals_poisson(&rng, 1e-9, 1, &arrivals), 0);
	assert_null(arrivals);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(quantiles_are_nearest_ranks),
		cmocka_unit_test(interval_of_the_median_of_ten_is_by_the_book),
		cmocka_unit_test(interval_of_few_samples_is_all_of_them),
		cmocka_unit_test(intervals_hold_the_truth_as_often_as_they_say),
		cmocka_unit_test(ratio_holds_the_truth),
		cmocka_unit_test(ratio_is_the_same_every_time),
		cmocka_unit_test(ratio_to_itself_draws_once),
		cmocka_unit_test(uniform_numbers_fill_their_range),
		cmocka_unit_test(arrivals_are_poisson),
		cmocka_unit_test(no_arrivals_in_no_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
