/* Rows in aligned columns for people. Cells are filled from left to right, top to bottom. */
#pragma once

#include <stdio.h>

#include "base/cleanup.h"

struct table;

/* heads ends with NULL and is borrowed. */
struct table *table_new(const char *const *heads);
void table_add(struct table *table, const char *fmt, ...) _printf_(2, 3);
void table_print(const struct table *table, FILE *out);
void table_free(struct table *table);
DEFINE_CLEANUP(struct table *, table_free)
