#include "bench/result.h"

#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

#define FILE_MAX    (64 * 1024 * 1024)
#define NAME_MAX_   100
#define ENTRIES_MAX 10000

struct result *result_new(void)
{
	struct result *result = xnew(struct result);

	result->about = json_object();
	result->tables = json_object();
	result->values = json_object();
	return result;
}

void result_free(struct result *result)
{
	if (!result)
		return;
	for (size_t i = 0; i < result->nseries; i++)
		series_free(result->series[i]);
	free(result->series);
	json_decref(result->about);
	json_decref(result->tables);
	json_decref(result->values);
	free(result);
}

/* ---------------------------------------------------------------- series */

static struct series *find_series(const struct result *result, const char *name)
{
	for (size_t i = 0; i < result->nseries; i++) {
		if (str_equal(result->series[i]->name, name))
			return result->series[i];
	}
	return NULL;
}

static struct series *take_series(struct result *result, struct series *series)
{
	result->series = xrealloc_array(result->series, result->nseries + 1, sizeof(series));
	return result->series[result->nseries++] = series;
}

struct series *result_series(struct result *result, const char *name, const char *what)
{
	struct series *series = find_series(result, name);

	return series ? series : take_series(result, series_new(name, what));
}

const struct series *result_find(const struct result *result, const char *name)
{
	const struct series *series = find_series(result, name);

	return series && series->count > 0 ? series : NULL;
}

/* ---------------------------------------------------------------- tables and values */

json_t *result_add_row(struct result *result, const char *table)
{
	json_t *rows = json_object_get(result->tables, table);
	json_t *row = json_object();

	if (!rows) {
		rows = json_array();
		json_object_set_new(result->tables, table, rows);
	}
	json_array_append_new(rows, row);
	return row;
}

void row_set(json_t *row, const char *key, double value)
{
	json_object_set_new(row, key, json_real(value));
}

double row_get(const json_t *row, const char *key)
{
	const json_t *value = json_object_get(row, key);

	return json_is_number(value) ? json_number_value(value) : NAN;
}

json_t *result_row(const struct result *result, const char *table, const char *key, double value)
{
	json_t *row;
	size_t i;

	json_array_foreach (json_object_get(result->tables, table), i, row) {
		if (row_get(row, key) == value)
			return row;
	}
	return NULL;
}

void result_set(struct result *result, const char *name, double value)
{
	row_set(result->values, name, value);
}

double result_get(const struct result *result, const char *name)
{
	return row_get(result->values, name);
}

/* ---------------------------------------------------------------- JSON */

json_t *result_to_json(const struct result *result, json_t *targets)
{
	json_t *object = json_pack("{s:i, s:O}", "schema", RESULT_SCHEMA, "about", result->about);
	json_t *series = json_object();

	for (size_t i = 0; i < result->nseries; i++) {
		if (result->series[i]->count > 0)
			json_object_set_new(series, result->series[i]->name,
					    series_to_json(result->series[i]));
	}
	json_object_set_new(object, "series", series);
	json_object_set(object, "tables", result->tables);
	json_object_set(object, "values", result->values);
	if (targets)
		json_object_set_new(object, "targets", targets);
	return object;
}

static int check_object(const json_t *object, const char *what, struct error *err)
{
	const char *key;
	json_t *value;

	if (!json_is_object(object) || json_object_size(object) > ENTRIES_MAX)
		return error_set(err, EBADMSG, "\"%s\" is not an object", what);
	json_object_foreach ((json_t *)object, key, value) {
		if (strlen(key) > NAME_MAX_)
			return error_set(err, EBADMSG, "a name in \"%s\" is too long", what);
	}
	return 0;
}

static int check_numbers(const json_t *object, const char *what, struct error *err)
{
	const char *key;
	json_t *value;

	int r = check_object(object, what, err);
	if (r < 0)
		return r;
	json_object_foreach ((json_t *)object, key, value) {
		if (!json_is_number(value))
			return error_set(err, EBADMSG, "%s of \"%s\" is not a number", key, what);
	}
	return 0;
}

static int read_tables(struct result *result, const json_t *tables, struct error *err)
{
	const char *name;
	json_t *rows, *row;
	size_t i;

	int r = check_object(tables, "tables", err);
	if (r < 0)
		return r;
	json_object_foreach ((json_t *)tables, name, rows) {
		if (!json_is_array(rows) || json_array_size(rows) > ENTRIES_MAX)
			return error_set(err, EBADMSG, "table %s is not an array", name);
		json_array_foreach (rows, i, row) {
			r = check_numbers(row, name, err);
			if (r < 0)
				return r;
		}
	}
	json_object_update(result->tables, (json_t *)tables);
	return 0;
}

static int read_series(struct result *result, const json_t *object, struct error *err)
{
	const char *name;
	json_t *json;

	int r = check_object(object, "series", err);
	if (r < 0)
		return r;
	json_object_foreach ((json_t *)object, name, json) {
		struct series *series;
		r = series_from_json(name, json, &series, err);
		if (r < 0)
			return r;
		take_series(result, series);
	}
	return 0;
}

int result_from_json(const json_t *json, struct result **ret_result, struct error *err)
{
	_cleanup_(result_free_cleanup) struct result *result = result_new();
	const json_t *about = json_object_get(json, "about");
	const json_t *values = json_object_get(json, "values");

	if (json_integer_value(json_object_get(json, "schema")) != RESULT_SCHEMA)
		return error_set(err, EBADMSG, "no result of kiln-bench with \"schema\": %d",
				 RESULT_SCHEMA);
	int r = check_object(about, "about", err);
	if (r == 0)
		r = read_series(result, json_object_get(json, "series"), err);
	if (r == 0)
		r = read_tables(result, json_object_get(json, "tables"), err);
	if (r == 0)
		r = check_numbers(values, "values", err);
	if (r < 0)
		return r;
	json_object_update(result->about, (json_t *)about);
	json_object_update(result->values, (json_t *)values);
	*ret_result = steal_ptr(result);
	return 0;
}

int result_load(const char *path, struct result **ret_result, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	json_error_t jerr;
	size_t len;

	int r = file_read(path, FILE_MAX, &text, &len, err);
	if (r < 0)
		return r;
	json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &jerr);
	r = json ? result_from_json(json, ret_result, err)
		 : error_set(err, EBADMSG, "line %d: %s", jerr.line, jerr.text);
	json_decref(json);
	return r < 0 ? error_wrap(err, "cannot use %s", path) : 0;
}
