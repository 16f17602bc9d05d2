#include "base/memory.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Nothing here may allocate: no stdio, no log. */
static _Noreturn void out_of_memory(void)
{
	static const char text[] = "kiln: out of memory\n";

	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	abort();
}

void *xcalloc(size_t count, size_t size)
{
	/* At least one byte, so that NULL always means failure. */
	void *ptr = calloc(count ? count : 1, size ? size : 1);

	if (!ptr)
		out_of_memory();
	return ptr;
}

void *xrealloc_array(void *ptr, size_t count, size_t size)
{
	void *grown = reallocarray(ptr, count ? count : 1, size ? size : 1);

	if (!grown)
		out_of_memory();
	return grown;
}

char *xstrdup(const char *text)
{
	return text ? xmemdup(text, strlen(text) + 1) : NULL;
}

char *xstrndup(const char *text, size_t len)
{
	size_t used = len > 0 ? strnlen(text, len) : 0;
	char *copy = xcalloc(1, used + 1);

	if (used > 0)
		memcpy(copy, text, used);
	return copy;
}

void *xmemdup(const void *data, size_t len)
{
	void *copy = malloc(len ? len : 1);

	if (!copy)
		out_of_memory();
	if (len > 0)
		memcpy(copy, data, len);
	return copy;
}

char *xvasprintf(const char *fmt, va_list args)
{
	char *text = NULL;

	if (vasprintf(&text, fmt, args) < 0)
		out_of_memory();
	return text;
}

char *xasprintf(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	char *text = xvasprintf(fmt, args);
	va_end(args);
	return text;
}

void replace_string(char **slot, const char *text)
{
	char *copy = xstrdup(text);

	free(*slot);
	*slot = copy;
}
