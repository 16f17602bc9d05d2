#include "base/strv.h"

#include <errno.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"

void strv_take(struct strv *v, char *text)
{
	/* Room doubles at powers of two, so its size needs no field. */
	if ((v->count & (v->count + 1)) == 0)
		v->items = xrealloc_array(v->items, (v->count + 1) * 2, sizeof(v->items[0]));
	v->items[v->count++] = text;
	v->items[v->count] = NULL;
}

void strv_add(struct strv *v, const char *text)
{
	strv_take(v, xstrdup(text));
}

void strv_addf(struct strv *v, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	strv_take(v, xvasprintf(fmt, args));
	va_end(args);
}

void strv_add_all(struct strv *v, const struct strv *other)
{
	for (size_t i = 0; i < other->count; i++)
		strv_add(v, other->items[i]);
}

bool strv_equal(const struct strv *a, const struct strv *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		if (!str_equal(a->items[i], b->items[i]))
			return false;
	}
	return true;
}

bool strv_contains(const struct strv *v, const char *text)
{
	for (size_t i = 0; i < v->count; i++) {
		if (str_equal(v->items[i], text))
			return true;
	}
	return false;
}

char *strv_join(const struct strv *v, const char *separator)
{
	_cleanup_(strbuf_done) struct strbuf b = {};

	for (size_t i = 0; i < v->count; i++) {
		if (i > 0)
			strbuf_adds(&b, separator);
		strbuf_adds(&b, v->items[i]);
	}
	return strbuf_steal(&b);
}

void strv_remove(struct strv *v, size_t index)
{
	free(v->items[index]);
	/* With the terminator. */
	memmove(&v->items[index], &v->items[index + 1], (v->count - index) * sizeof(*v->items));
	v->count--;
}

void strv_done(struct strv *v)
{
	int saved = errno;

	for (size_t i = 0; i < v->count; i++)
		free(v->items[i]);
	free(v->items);
	*v = (struct strv){};
	errno = saved;
}
