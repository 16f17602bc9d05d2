#include "bench/report.h"

#include <math.h>

#include "base/memory.h"
#include "base/strings.h"

static void print_machine(const struct result *result, FILE *out)
{
	const json_t *machine = json_object_get(result->about, "machine");
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)machine, key, value) {
		if (json_is_string(value))
			fprintf(out, "%-18s %s\n", key, json_string_value(value));
		else if (json_is_number(value))
			fprintf(out, "%-18s %g\n", key, json_number_value(value));
	}
	fputc('\n', out);
}

/* What is missing in the rest, and why. */
static void print_failed(const struct result *result, FILE *out)
{
	json_t *failed = json_object_get(result->about, "failed");
	const char *scenario;
	json_t *why;

	json_object_foreach (failed, scenario, why) {
		fprintf(out, "%-18s failed: %s\n", scenario, json_string_value(why));
	}
	if (failed)
		fputc('\n', out);
}

static void print_series(const struct series *series, double boot, FILE *out)
{
	struct interval median = series_interval(series, 0.5);
	_cleanup_free_ char *range = xasprintf("%.2f-%.2f", median.low, median.high);

	fprintf(out, "%-22s %-50s %5zu %9.2f %-17s %9.2f %9.2f %9.2f", series->name, series->what,
		series->count, median.value, range, series_quantile(series, 0.9),
		series_quantile(series, 0.99), series_quantile(series, 1));
	if (boot > 0 && median.value > 0)
		fprintf(out, "  1/%.*f", boot / median.value < 10 ? 1 : 0, boot / median.value);
	fputc('\n', out);
}

static void print_all_series(const struct result *result, FILE *out)
{
	const struct series *boot = result_find(result, "boot.ready");

	fprintf(out, "%-22s %-50s %5s %9s %-17s %9s %9s %9s  %s\n", "", "ms", "n", "p50", "(95 %)",
		"p90", "p99", "max", "of a boot");
	for (size_t i = 0; i < result->nseries; i++) {
		if (result->series[i]->count > 0)
			print_series(result->series[i], boot ? series_quantile(boot, 0.5) : 0, out);
	}
	fputc('\n', out);
}

static void print_table(const char *name, const json_t *rows, FILE *out)
{
	const char *key;
	json_t *row, *value;
	size_t i;

	fprintf(out, "%s\n", name);
	json_object_foreach (json_array_get(rows, 0), key, value) {
		fprintf(out, " %*s", (int)strlen(key) < 9 ? 9 : (int)strlen(key), key);
	}
	fputc('\n', out);
	json_array_foreach (rows, i, row) {
		json_object_foreach (json_array_get(rows, 0), key, value) {
			double number = row_get(row, key);
			fprintf(out, " %*.*f", (int)strlen(key) < 9 ? 9 : (int)strlen(key),
				number == floor(number) ? 0 : 2, number);
		}
		fputc('\n', out);
	}
	fputc('\n', out);
}

void report_print(const struct result *result, FILE *out)
{
	const char *name;
	json_t *rows, *value;

	print_machine(result, out);
	print_failed(result, out);
	print_all_series(result, out);
	json_object_foreach (result->tables, name, rows) {
		print_table(name, rows, out);
	}
	json_object_foreach (result->values, name, value) {
		fprintf(out, "%-34s %9.2f\n", name, json_number_value(value));
	}
	fputc('\n', out);
}
