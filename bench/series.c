#include "bench/series.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"

#define SAMPLES_MAX 1000000 /* of a file */
#define MS_MAX      1e9

struct series *series_new(const char *name, const char *what)
{
	struct series *series = xnew(struct series);

	series->name = xstrdup(name);
	series->what = xstrdup(what);
	series->histogram = histogram_new();
	return series;
}

void series_free(struct series *series)
{
	if (!series)
		return;
	free(series->name);
	free(series->what);
	free(series->ms);
	histogram_free(series->histogram);
	free(series);
}

static void add_ms(struct series *series, double ms)
{
	series->ms = xrealloc_array(series->ms, series->count + 1, sizeof(*series->ms));
	series->ms[series->count++] = ms;
	histogram_record(series->histogram, (uint64_t)llround(ms * 1000));
}

void series_add(struct series *series, uint64_t ns)
{
	add_ms(series, (double)ns / 1e6);
}

int series_add_lines(struct series *series, const char *text, size_t skipped, size_t lines,
		     struct error *err)
{
	const char *at = text;
	size_t n = 0;

	for (; *at && n < lines; n++) {
		char *end;
		uint64_t ns = strtoull(at, &end, 10);
		if (end == at || *end != '\n' || (double)ns > MS_MAX * 1e6)
			break;
		if (n >= skipped)
			series_add(series, ns);
		at = end + 1;
	}
	return n < lines || *at ? error_set(err, EBADMSG, "%s: not %zu times, but: %s",
					    series->name, lines, text)
				: 0;
}

double series_quantile(const struct series *series, double q)
{
	return stats_quantile(series->ms, series->count, q);
}

struct interval series_interval(const struct series *series, double q)
{
	return stats_quantile_interval(series->ms, series->count, q);
}

/* ---------------------------------------------------------------- JSON */

static json_t *histogram_to_json(const struct histogram *histogram)
{
	json_t *parts = json_array();
	struct histogram_part part = {};

	while (histogram_next(histogram, &part))
		json_array_append_new(parts, json_pack("[I, I]", (json_int_t)part.highest,
						       (json_int_t)part.count));
	return parts;
}

static void set_quantile(json_t *object, const char *key, const struct series *series, double q)
{
	double us = (double)histogram_quantile(series->histogram, q);

	json_object_set_new(object, key, json_real(us / 1000));
}

json_t *series_to_json(const struct series *series)
{
	struct interval median = series_interval(series, 0.5);
	json_t *samples = json_array();
	json_t *object = json_pack("{s:s, s:s, s:I, s:f, s:f, s:f}", "what", series->what, "unit",
				   "ms", "n", (json_int_t)series->count, "p50", median.value,
				   "p50_low", median.low, "p50_high", median.high);

	set_quantile(object, "p90", series, 0.9);
	set_quantile(object, "p99", series, 0.99);
	set_quantile(object, "p999", series, 0.999);
	json_object_set_new(object, "max", json_real(series_quantile(series, 1)));
	json_object_set_new(object, "histogram_us", histogram_to_json(series->histogram));
	for (size_t i = 0; i < series->count; i++)
		json_array_append_new(samples, json_real(series->ms[i]));
	json_object_set_new(object, "samples", samples);
	return object;
}

int series_from_json(const char *name, const json_t *json, struct series **ret_series,
		     struct error *err)
{
	const char *what = json_string_value(json_object_get(json, "what"));
	const json_t *samples = json_object_get(json, "samples");
	json_t *sample;
	size_t i;

	if (!what || !json_is_array(samples) || json_array_size(samples) > SAMPLES_MAX)
		return error_set(err, EBADMSG, "series %s has no \"what\" or no \"samples\"", name);
	_cleanup_(series_free_cleanup) struct series *series = series_new(name, what);
	json_array_foreach (samples, i, sample) {
		double ms = json_is_number(sample) ? json_number_value(sample) : -1;
		if (!(ms >= 0 && ms <= MS_MAX))
			return error_set(err, EBADMSG, "sample %zu of series %s is no time", i,
					 name);
		add_ms(series, ms);
	}
	*ret_series = steal_ptr(series);
	return 0;
}
