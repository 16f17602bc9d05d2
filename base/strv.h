/* A growable, NULL-terminated vector of owned strings: argv, environment, options.
 * `struct strv v = {};` is an empty one. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"

struct strv {
	char **items; /* owned; NULL while nothing was ever added, else items[count] == NULL */
	size_t count;
};

void strv_add(struct strv *v, const char *text); /* copies */
void strv_addf(struct strv *v, const char *fmt, ...) _printf_(2, 3);
void strv_take(struct strv *v, char *text);                  /* takes ownership */
void strv_add_all(struct strv *v, const struct strv *other); /* copies */
bool strv_equal(const struct strv *a, const struct strv *b);
bool strv_contains(const struct strv *v, const char *text);
char *strv_join(const struct strv *v, const char *separator); /* the caller frees */
void strv_remove(struct strv *v, size_t index);               /* frees it; the others move up */
void strv_done(struct strv *v);
