/* All that one run measured, and its file. bench/README.md has the schema. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"
#include "bench/series.h"

#define RESULT_SCHEMA 1

struct result {
	json_t *about;          /* set, begun, scenarios, machine: written and read as it is */
	struct series **series; /* owned, in the order they were first asked for */
	size_t nseries;
	json_t *tables; /* name: array of rows, each an object of numbers */
	json_t *values; /* name: number */
};

struct result *result_new(void);
void result_free(struct result *result);
DEFINE_CLEANUP(struct result *, result_free)

/* The series of this name, made where there is none. Borrowed. */
struct series *result_series(struct result *result, const char *name, const char *what);
/* NULL: there is none, or it is empty. */
const struct series *result_find(const struct result *result, const char *name);

/* A new row of a table; borrowed. */
json_t *result_add_row(struct result *result, const char *table);
void row_set(json_t *row, const char *key, double value);
/* NAN where the row has no such number. */
double row_get(const json_t *row, const char *key);
/* The row in which key is value; NULL. */
json_t *result_row(const struct result *result, const char *table, const char *key, double value);

void result_set(struct result *result, const char *name, double value);
double result_get(const struct result *result, const char *name); /* NAN: there is none */

/* targets (taken, may be NULL) is what the caller made of it, for readers of the file. */
json_t *result_to_json(const struct result *result, json_t *targets);
/* Foreign bytes: -EBADMSG and what is wrong for all that is no result. */
_must_check_ int result_from_json(const json_t *json, struct result **ret_result,
				  struct error *err);
_must_check_ int result_load(const char *path, struct result **ret_result, struct error *err);
