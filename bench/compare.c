#include "bench/compare.h"

#include <math.h>

#include "base/memory.h"
#include "base/strings.h"

enum change { CHANGE_NONE, CHANGE_BETTER, CHANGE_WORSE };

static const char *const change_words[] = {
	[CHANGE_NONE] = "same",
	[CHANGE_BETTER] = "better",
	[CHANGE_WORSE] = "WORSE",
};

static void count_change(struct comparison *comparison, enum change change)
{
	comparison->same += change == CHANGE_NONE;
	comparison->better += change == CHANGE_BETTER;
	comparison->worse += change == CHANGE_WORSE;
}

static enum change change_of(double ratio, bool sure)
{
	if (!sure || fabs(ratio - 1) <= COMPARE_SMALLEST)
		return CHANGE_NONE;
	return ratio < 1 ? CHANGE_BETTER : CHANGE_WORSE;
}

/* ---------------------------------------------------------------- series */

static void compare_series(const struct series *old, const struct series *now, FILE *out,
			   struct comparison *comparison)
{
	struct interval ratio = stats_ratio(&(struct sample){ now->ms, now->count, 0.5 },
					    &(struct sample){ old->ms, old->count, 0.5 });
	enum change change = change_of(ratio.value, ratio.low > 1 || ratio.high < 1);

	fprintf(out, "%-44s %10.2f %10.2f ms  %5.2fx (%.2f to %.2f)  %s\n", now->name,
		series_quantile(old, 0.5), series_quantile(now, 0.5), ratio.value, ratio.low,
		ratio.high, change_words[change]);
	count_change(comparison, change);
}

static void compare_all_series(const struct result *old, const struct result *now, FILE *out,
			       struct comparison *comparison)
{
	for (size_t i = 0; i < now->nseries; i++) {
		const char *name = now->series[i]->name;
		const struct series *before = result_find(old, name);
		const struct series *after = result_find(now, name);

		if (before && after)
			compare_series(before, after, out, comparison);
		else if (after)
			fprintf(out, "%-44s only in the second\n", name);
	}
	for (size_t i = 0; i < old->nseries; i++) {
		if (!result_find(now, old->series[i]->name))
			fprintf(out, "%-44s only in the first\n", old->series[i]->name);
	}
}

/* ---------------------------------------------------------------- single figures */

static void compare_numbers(const char *name, double old, double now, bool more_is_better,
			    FILE *out, struct comparison *comparison)
{
	double ratio = old == now ? 1 : now / old;

	if (!isfinite(old) || !isfinite(now))
		return;
	enum change change = change_of(more_is_better ? 1 / ratio : ratio, true);
	fprintf(out, "%-44s %10.2f %10.2f     %5.2fx  %s\n", name, old, now, ratio,
		change_words[change]);
	count_change(comparison, change);
}

/* Of a table only these say how good it is; the rest (rates, parts, the state of the host) is
 * there to explain them. */
static bool is_judged(const char *key, bool *ret_more_is_better)
{
	*ret_more_is_better = str_equal(key, "hit_ratio") || str_equal(key, "refill_per_s");
	return *ret_more_is_better || str_equal(key, "counted_mib");
}

static void compare_rows(const char *table, const json_t *old, const json_t *now, FILE *out,
			 struct comparison *comparison)
{
	const char *key;
	json_t *value;
	bool more;

	json_object_foreach ((json_t *)now, key, value) {
		if (!is_judged(key, &more))
			continue;
		_cleanup_free_ char *name = xasprintf("%s[%g].%s", table, row_get(now, "x"), key);
		compare_numbers(name, row_get(old, key), json_number_value(value), more, out,
				comparison);
	}
}

static void compare_tables(const struct result *old, const struct result *now, FILE *out,
			   struct comparison *comparison)
{
	const char *table;
	json_t *rows, *row;
	size_t i;

	json_object_foreach (now->tables, table, rows) {
		json_array_foreach (rows, i, row) {
			const json_t *before = result_row(old, table, "x", row_get(row, "x"));
			if (before)
				compare_rows(table, before, row, out, comparison);
		}
	}
}

static void compare_values(const struct result *old, const struct result *now, FILE *out,
			   struct comparison *comparison)
{
	const char *name;
	json_t *value;

	json_object_foreach (now->values, name, value) {
		compare_numbers(name, result_get(old, name), json_number_value(value), false, out,
				comparison);
	}
}

static void compare_machines(const struct result *old, const struct result *now, FILE *out)
{
	static const char *const keys[] = { "cpu", "cpus", "kernel", "qemu", "accelerator" };
	const json_t *a = json_object_get(old->about, "machine");
	const json_t *b = json_object_get(now->about, "machine");

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (!json_equal(json_object_get(a, keys[i]), json_object_get(b, keys[i])))
			fprintf(out, "Not the same machine: %s differs. Times say little then.\n",
				keys[i]);
	}
}

struct comparison compare_results(const struct result *old, const struct result *now, FILE *out)
{
	struct comparison comparison = {};

	compare_machines(old, now, out);
	fprintf(out, "%-44s %10s %10s\n", "median", "first", "second");
	compare_all_series(old, now, out, &comparison);
	compare_tables(old, now, out, &comparison);
	compare_values(old, now, out, &comparison);
	fprintf(out, "%u better, %u worse, %u the same\n", comparison.better, comparison.worse,
		comparison.same);
	return comparison;
}
