/* A growable, always terminated string. `struct strbuf b = {};` is an empty one. */
#pragma once

#include <stddef.h>

#include "base/cleanup.h"

struct strbuf {
	char *text; /* owned; NULL while nothing was ever added */
	size_t len; /* bytes without the terminator */
	size_t size;
};

void strbuf_add(struct strbuf *b, const void *data, size_t len);
void strbuf_adds(struct strbuf *b, const char *text);
void strbuf_addf(struct strbuf *b, const char *fmt, ...) _printf_(2, 3);
const char *strbuf_text(const struct strbuf *b); /* never NULL */
char *strbuf_steal(struct strbuf *b);            /* the caller frees; b is empty after it */
void strbuf_done(struct strbuf *b);
