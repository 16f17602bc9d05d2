/* Results: written, read back, refused, compared, held against targets and baseline. */

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* After what it needs. */
#include <cmocka.h>

#include "base/memory.h"
#include "bench/compare.h"
#include "bench/result.h"
#include "bench/targets.h"

#define MS 1000000ull

static void fill(struct result *result, const char *name, uint64_t ms)
{
	struct series *series = result_series(result, name, "a test's");

	for (uint64_t i = 0; i < 20; i++)
		series_add(series, ms * MS + i * MS / 100);
}

static struct result *example(void)
{
	struct result *result = result_new();

	json_object_set_new(result->about, "set", json_string("test"));
	fill(result, "boot.ready", 3000);
	fill(result, "claim.total", 3);
	json_t *row = result_add_row(result, "density.parked");
	row_set(row, "x", 50);
	row_set(row, "counted_mib", 20);
	result_set(result, "memory.shim_private_mib", 2);
	return result;
}

/* As a file would have it. */
static json_t *reread(const struct result *result)
{
	json_t *json = result_to_json(result, NULL);
	_cleanup_free_ char *text = json_dumps(json, 0);

	json_decref(json);
	return json_loads(text, 0, NULL);
}

static void what_is_written_is_read_back(void **state _unused_)
{
	_cleanup_(result_free_cleanup) struct result *result = example();
	_cleanup_(result_free_cleanup) struct result *again = NULL;
	_cleanup_(error_done) struct error err = {};
	json_t *json = reread(result);

	assert_int_equal(result_from_json(json, &again, &err), 0);
	assert_int_equal(again->nseries, 2);
	assert_string_equal(again->series[1]->name, "claim.total");
	assert_true(series_quantile(again->series[1], 0.5) ==
		    series_quantile(result->series[1], 0.5));
	assert_true(row_get(result_row(again, "density.parked", "x", 50), "counted_mib") == 20);
	assert_true(result_get(again, "memory.shim_private_mib") == 2);
	assert_true(isnan(result_get(again, "nothing")));
	json_decref(json);
}

static void foreign_files_are_refused(void **state _unused_)
{
	static const char *const texts[] = {
		"{}",
		"[]",
		"{\"schema\":2,\"about\":{},\"series\":{},\"tables\":{},\"values\":{}}",
		"{\"schema\":1,\"series\":{},\"tables\":{},\"values\":{}}",
		"{\"schema\":1,\"about\":{},\"series\":[],\"tables\":{},\"values\":{}}",
		"{\"schema\":1,\"about\":{},\"series\":{\"a\":{}},\"tables\":{},\"values\":{}}",
		"{\"schema\":1,\"about\":{},\"series\":{\"a\":{\"what\":\"\",\"samples\":[-1]}},"
		"\"tables\":{},\"values\":{}}",
		"{\"schema\":1,\"about\":{},\"series\":{\"a\":{\"what\":\"\",\"samples\":[\"x\"]}},"
		"\"tables\":{},\"values\":{}}",
		"{\"schema\":1,\"about\":{},\"series\":{},\"tables\":{\"t\":{}},\"values\":{}}",
		"{\"schema\":1,\"about\":{},\"series\":{},\"tables\":{\"t\":[{\"x\":null}]},"
		"\"values\":{}}",
		"{\"schema\":1,\"about\":{},\"series\":{},\"tables\":{},\"values\":{\"v\":\"\"}}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		_cleanup_(error_done) struct error err = {};
		struct result *result = NULL;
		json_t *json = json_loads(texts[i], 0, NULL);

		assert_non_null(json);
		assert_int_equal(result_from_json(json, &result, &err), -EBADMSG);
		assert_null(result);
		assert_non_null(err.message);
		json_decref(json);
	}
}

/* ---------------------------------------------------------------- compare */

static char *compare_text(const struct result *old, const struct result *now,
			  struct comparison *ret)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	*ret = compare_results(old, now, out);
	(void)fclose(out);
	return text;
}

static void what_a_program_printed_is_as_many_times(void **state _unused_)
{
	static const char *const wrong[] = {
		"",          "1000000\n", "1000000\n2000000",
		"1\n2\n3\n", "1\n\n",     "1\ntwo\n",
		"one\n2\n",  "1\n-2\n",   "1\n99999999999999999999\n"
	};
	_cleanup_(result_free_cleanup) struct result *result = result_new();
	struct series *series = result_series(result, "pods-net.transfer.kiln", "a test's");
	_cleanup_(error_done) struct error err = {};

	assert_int_equal(series_add_lines(series, "1000000\n2000000\n", 0, 2, &err), 0);
	assert_int_equal(series->count, 2);
	assert_true(fabs(series->ms[1] - 2) < 1e-9);
	assert_int_equal(series_add_lines(series, "9\n3000000\n", 1, 2, &err), 0);
	assert_int_equal(series->count, 3);
	assert_true(fabs(series->ms[2] - 3) < 1e-9);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(series_add_lines(series, wrong[i], 2, 2, &err), -EBADMSG);
}

static void a_result_is_the_same_as_itself(void **state _unused_)
{
	_cleanup_(result_free_cleanup) struct result *result = example();
	struct comparison comparison;
	_cleanup_free_ _unused_ char *text = compare_text(result, result, &comparison);

	assert_int_equal(comparison.worse, 0);
	assert_int_equal(comparison.better, 0);
	assert_int_equal(comparison.same, 4);
}

static void slower_and_faster_are_told_apart(void **state _unused_)
{
	_cleanup_(result_free_cleanup) struct result *old = result_new();
	_cleanup_(result_free_cleanup) struct result *now = result_new();
	struct comparison comparison;

	fill(old, "slower", 10);
	fill(now, "slower", 12);
	fill(old, "faster", 12);
	fill(now, "faster", 10);
	_cleanup_free_ _unused_ char *text = compare_text(old, now, &comparison);
	assert_int_equal(comparison.worse, 1);
	assert_int_equal(comparison.better, 1);
	assert_non_null(strstr(strstr(text, "slower"), "WORSE"));
	assert_non_null(strstr(strstr(text, "faster"), "better"));
}

/* 3 % is sure here (the samples hardly differ), and still no change worth a word. */
static void small_changes_are_no_changes(void **state _unused_)
{
	_cleanup_(result_free_cleanup) struct result *old = result_new();
	_cleanup_(result_free_cleanup) struct result *now = result_new();
	struct comparison comparison;

	fill(old, "a", 100);
	fill(now, "a", 103);
	_cleanup_free_ _unused_ char *text = compare_text(old, now, &comparison);
	assert_int_equal(comparison.same, 1);
}

/* The medians differ by half; with three wild samples that says nothing. */
static void noise_is_no_change(void **state _unused_)
{
	static const uint64_t before[] = { 1, 10, 100 }, after[] = { 2, 15, 90 };
	_cleanup_(result_free_cleanup) struct result *old = result_new();
	_cleanup_(result_free_cleanup) struct result *now = result_new();
	struct comparison comparison;

	for (int i = 0; i < 3; i++) {
		series_add(result_series(old, "a", ""), before[i] * MS);
		series_add(result_series(now, "a", ""), after[i] * MS);
	}
	_cleanup_free_ _unused_ char *text = compare_text(old, now, &comparison);
	assert_int_equal(comparison.same, 1);
}

static void more_is_better_where_it_is(void **state _unused_)
{
	_cleanup_(result_free_cleanup) struct result *old = result_new();
	_cleanup_(result_free_cleanup) struct result *now = result_new();
	struct comparison comparison;
	json_t *row;

	row = result_add_row(old, "sustain");
	row_set(row, "x", 1);
	row_set(row, "hit_ratio", 0.5);
	row_set(row, "per_s", 2);
	row = result_add_row(now, "sustain");
	row_set(row, "x", 1);
	row_set(row, "hit_ratio", 0.9);
	row_set(row, "per_s", 9);
	_cleanup_free_ _unused_ char *text = compare_text(old, now, &comparison);
	assert_int_equal(comparison.better, 1);
	assert_int_equal(comparison.worse, 0);
	assert_int_equal(comparison.same, 0); /* the rate is not judged */
}

static void what_only_one_has_is_said(void **state _unused_)
{
	_cleanup_(result_free_cleanup) struct result *old = result_new();
	_cleanup_(result_free_cleanup) struct result *now = result_new();
	struct comparison comparison;

	fill(old, "gone", 10);
	fill(now, "new", 10);
	_cleanup_free_ _unused_ char *text = compare_text(old, now, &comparison);
	assert_non_null(strstr(text, "only in the first"));
	assert_non_null(strstr(text, "only in the second"));
	assert_int_equal(comparison.worse + comparison.better + comparison.same, 0);
}

static void another_machine_is_said(void **state _unused_)
{
	_cleanup_(result_free_cleanup) struct result *old = example();
	_cleanup_(result_free_cleanup) struct result *now = example();
	struct comparison comparison;

	json_object_set_new(old->about, "machine", json_pack("{s:s}", "cpu", "one"));
	json_object_set_new(now->about, "machine", json_pack("{s:s}", "cpu", "other"));
	_cleanup_free_ _unused_ char *text = compare_text(old, now, &comparison);
	assert_non_null(strstr(text, "cpu differs"));
}

/* ---------------------------------------------------------------- targets */

static const struct outcome *outcome_of(const struct outcome *outcomes, const char *name)
{
	for (size_t i = 0; i < TARGETS; i++) {
		if (str_equal(outcomes[i].target->name, name))
			return &outcomes[i];
	}
	fail_msg("no target %s", name);
	return NULL;
}

static void targets_are_judged(void **state _unused_)
{
	_cleanup_(result_free_cleanup) struct result *result = example();
	struct outcome outcomes[TARGETS];

	fill(result, "clone.parked", 400);
	targets_evaluate(result, outcomes);
	assert_int_equal(outcome_of(outcomes, "claim_vs_boot")->verdict, VERDICT_PASS);
	assert_true(fabs(outcome_of(outcomes, "claim_vs_boot")->measured.value - 0.001) < 1e-4);
	assert_int_equal(outcome_of(outcomes, "claim_tail")->verdict, VERDICT_AIM);
	assert_int_equal(outcome_of(outcomes, "clone_vs_boot")->verdict, VERDICT_MISS);
	assert_int_equal(outcome_of(outcomes, "shim_memory")->verdict, VERDICT_PASS);
	assert_int_equal(outcome_of(outcomes, "ctr_vs_runc")->verdict, VERDICT_UNMEASURED);
	assert_int_equal(outcome_of(outcomes, "memory_vs_booted")->verdict, VERDICT_UNMEASURED);
}

static void targets_have_an_aim_beyond_the_must(void **state _unused_)
{
	_cleanup_(result_free_cleanup) struct result *result = result_new();
	struct outcome outcomes[TARGETS];

	targets_evaluate(result, outcomes);
	for (size_t i = 0; i < TARGETS; i++) {
		assert_true(outcomes[i].target->aim < outcomes[i].target->must);
		assert_int_equal(outcomes[i].verdict, VERDICT_UNMEASURED);
	}
	for (int i = VERDICT_UNMEASURED; i <= VERDICT_AIM; i++)
		assert_int_equal(verdict_from_string(verdict_to_string((enum verdict)i)), i);
}

static unsigned check(const struct result *result, const json_t *baseline)
{
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *text = NULL;
	struct outcome outcomes[TARGETS];
	unsigned worse = 0;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	targets_evaluate(result, outcomes);
	assert_int_equal(baseline_check(outcomes, baseline, out, &worse, &err), 0);
	(void)fclose(out);
	return worse;
}

static void a_baseline_is_kept_or_broken(void **state _unused_)
{
	_cleanup_(result_free_cleanup) struct result *result = example();
	_cleanup_(result_free_cleanup) struct result *worse = result_new();
	struct outcome outcomes[TARGETS];

	targets_evaluate(result, outcomes);
	json_t *baseline = baseline_make(outcomes, result->about);
	assert_int_equal(json_object_size(json_object_get(baseline, "targets")), 3);
	assert_int_equal(check(result, baseline), 0);

	fill(worse, "boot.ready", 3000);
	fill(worse, "claim.total", 9);
	assert_int_equal(check(worse, baseline), 1);
	result_set(worse, "memory.shim_private_mib", 4);
	assert_int_equal(check(worse, baseline), 2);
	json_decref(baseline);
}

static void a_baseline_that_is_none_is_refused(void **state _unused_)
{
	static const char *const texts[] = {
		"{}",
		"{\"schema\":1}",
		"{\"schema\":1,\"targets\":{\"claim_vs_boot\":{\"value\":0,\"tolerance\":2}}}",
		"{\"schema\":1,\"targets\":{\"claim_vs_boot\":{\"value\":1,\"tolerance\":0.5}}}",
		"{\"schema\":1,\"targets\":{\"claim_vs_boot\":{\"value\":\"1\"}}}",
	};
	_cleanup_(result_free_cleanup) struct result *result = example();
	struct outcome outcomes[TARGETS];

	targets_evaluate(result, outcomes);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		_cleanup_(error_done) struct error err = {};
		unsigned worse;
		json_t *baseline = json_loads(texts[i], 0, NULL);
		assert_int_equal(baseline_check(outcomes, baseline, stdout, &worse, &err),
				 -EBADMSG);
		json_decref(baseline);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read_back),
		cmocka_unit_test(foreign_files_are_refused),
		cmocka_unit_test(what_a_program_printed_is_as_many_times),
		cmocka_unit_test(a_result_is_the_same_as_itself),
		cmocka_unit_test(slower_and_faster_are_told_apart),
		cmocka_unit_test(small_changes_are_no_changes),
		cmocka_unit_test(noise_is_no_change),
		cmocka_unit_test(more_is_better_where_it_is),
		cmocka_unit_test(what_only_one_has_is_said),
		cmocka_unit_test(another_machine_is_said),
		cmocka_unit_test(targets_are_judged),
		cmocka_unit_test(targets_have_an_aim_beyond_the_must),
		cmocka_unit_test(a_baseline_is_kept_or_broken),
		cmocka_unit_test(a_baseline_that_is_none_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
