#include "base/strbuf.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define STRBUF_FIRST_SIZE 64

static void strbuf_reserve(struct strbuf *b, size_t more)
{
	/* An impossible length ends in the allocator's own out-of-memory. */
	size_t need = more > SIZE_MAX - b->len - 1 ? SIZE_MAX : b->len + more + 1;
	size_t size = b->size ? b->size : STRBUF_FIRST_SIZE;

	if (need <= b->size)
		return;
	while (size < need)
		size = size > SIZE_MAX / 2 ? SIZE_MAX : size * 2;
	b->text = xrealloc_array(b->text, size, 1);
	b->size = size;
}

void strbuf_add(struct strbuf *b, const void *data, size_t len)
{
	strbuf_reserve(b, len);
	if (len > 0)
		memcpy(b->text + b->len, data, len);
	b->len += len;
	b->text[b->len] = '\0';
}

void strbuf_adds(struct strbuf *b, const char *text)
{
	strbuf_add(b, text, strlen(text));
}

void strbuf_addf(struct strbuf *b, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	_cleanup_free_ char *text = xvasprintf(fmt, args);
	va_end(args);
	strbuf_adds(b, text);
}

const char *strbuf_text(const struct strbuf *b)
{
	return b->text ? b->text : "";
}

char *strbuf_steal(struct strbuf *b)
{
	char *text = b->text ? b->text : xstrdup("");

	*b = (struct strbuf){};
	return text;
}

void strbuf_done(struct strbuf *b)
{
	cleanup_free(&b->text);
	*b = (struct strbuf){};
}
