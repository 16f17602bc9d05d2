/* Words and numbers in a page of HTML. */
#pragma once

#include <stdint.h>

#include "base/strbuf.h"

enum {
	HTML_TEXT_MAX = 1000 /* bytes of one text; the rest is left out and shown by an ellipsis */
};

/* Foreign text, for an element's content or an attribute in double quotes: what HTML escapes, and
 * '?' for what may not be shown. NULL is none. */
void html_text(struct strbuf *page, const char *text);

/* "12 345 678", by narrow spaces that do not break. */
void html_count(struct strbuf *page, uint64_t count);

/* "840 µs", "12.3 ms", "1.25 s", "2 min 5 s". */
void html_us(struct strbuf *page, uint64_t us);
