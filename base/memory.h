/* Allocation that does not fail: out of memory is reported and aborts.
 * Sizes that come from outside are bounded by the caller before they get here. */
#pragma once

#include <stdarg.h>
#include <stddef.h>

#include "base/cleanup.h"

void *xcalloc(size_t count, size_t size) __attribute__((malloc, alloc_size(1, 2)));
void *xrealloc_array(void *ptr, size_t count, size_t size);
char *xstrdup(const char *text);              /* NULL gives NULL */
char *xstrndup(const char *text, size_t len); /* at most len bytes, always terminated */
void *xmemdup(const void *data, size_t len);
char *xasprintf(const char *fmt, ...) _printf_(1, 2);
char *xvasprintf(const char *fmt, va_list args) _printf_(1, 0);

#define xnew(type)              ((type *)xcalloc(1, sizeof(type)))
#define xnew_array(type, count) ((type *)xcalloc((count), sizeof(type)))

/* Replaces the string *slot owns by a copy of text (NULL: by NULL). */
void replace_string(char **slot, const char *text);
