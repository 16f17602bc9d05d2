#include "bench/series.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static const struct series series_table[SERIES_COUNT] = {
	[SERIES_BOOT] = { .name = "boot", .what = "cold boot to agent ready" },
	[SERIES_CLONE] = { .name = "clone",
			   .what = "claim with the pool empty: clone, warm, hand over" },
	[SERIES_CLAIM] = { .name = "claim", .what = "claim from the pool" },
	[SERIES_CREATE_SANDBOX] = { .name = "create_sandbox", .what = "CreateSandbox" },
	[SERIES_CLAIM_CREATE] = { .name = "claim_create_sandbox",
				  .what = "claim from the pool + CreateSandbox" },
	[SERIES_CONTAINER_START] = { .name = "container_start",
				     .what = "container create + start in the guest" },
	[SERIES_CTR_KILN] = { .name = "ctr_run_kiln", .what = "ctr run --rm, kiln" },
	[SERIES_CTR_RUNC] = { .name = "ctr_run_runc",
			      .what = "ctr run --rm, runc, same containerd" },
};

void results_init(struct results *results)
{
	memcpy(results->series, series_table, sizeof(series_table));
}

void results_done(struct results *results)
{
	for (size_t i = 0; i < SERIES_COUNT; i++)
		free(results->series[i].ms);
}

void series_add(struct series *series, uint64_t ns)
{
	series->ms = xrealloc_array(series->ms, series->count + 1, sizeof(*series->ms));
	series->ms[series->count++] = (double)ns / 1e6;
}

static int compare_ms(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double series_quantile(const struct series *series, double q)
{
	if (series->count == 0)
		return 0;
	_cleanup_free_ double *sorted = xmemdup(series->ms, series->count * sizeof(*series->ms));
	qsort(sorted, series->count, sizeof(*sorted), compare_ms);

	double exact = q * (double)series->count;
	size_t rank = (size_t)exact;
	if ((double)rank < exact)
		rank++;
	return sorted[rank > 0 ? rank - 1 : 0];
}

void results_print(const struct results *results, FILE *out)
{
	double boot = series_quantile(&results->series[SERIES_BOOT], 0.5);

	fprintf(out, "%-52s %4s %10s %10s %10s  %s\n", "", "n", "min ms", "median ms", "max ms",
		"cold boot / median");
	for (size_t i = 0; i < SERIES_COUNT; i++) {
		const struct series *s = &results->series[i];
		double median = series_quantile(s, 0.5);

		if (s->count == 0)
			continue;
		fprintf(out, "%-52s %4zu %10.2f %10.2f %10.2f", s->what, s->count,
			series_quantile(s, 1e-9), median, series_quantile(s, 1));
		if (boot > 0)
			fprintf(out, "  %.*f", boot / median < 10 ? 1 : 0, boot / median);
		fputc('\n', out);
	}
}

static json_t *series_to_json(const struct series *series)
{
	json_t *samples = json_array();

	for (size_t i = 0; i < series->count; i++)
		json_array_append_new(samples, json_real(series->ms[i]));
	return json_pack("{s:s, s:i, s:f, s:f, s:f, s:f, s:o}", "what", series->what, "n",
			 (int)series->count, "min_ms", series_quantile(series, 1e-9), "p50_ms",
			 series_quantile(series, 0.5), "p90_ms", series_quantile(series, 0.9),
			 "max_ms", series_quantile(series, 1), "samples_ms", samples);
}

json_t *results_to_json(const struct results *results)
{
	json_t *object = json_object();

	for (size_t i = 0; i < SERIES_COUNT; i++) {
		if (results->series[i].count > 0)
			json_object_set_new(object, results->series[i].name,
					    series_to_json(&results->series[i]));
	}
	return object;
}
