#include "ctl/html.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/strings.h"

static const char *escape_of(char c)
{
	switch (c) {
	case '&':
		return "&amp;";
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '"':
		return "&quot;";
	case '\'':
		return "&#39;";
	default:
		return NULL;
	}
}

void html_text(struct strbuf *page, const char *text)
{
	size_t len = 0;

	for (const char *at = text ? text : ""; *at;) {
		bool shown;
		size_t n = str_character(at, &shown);
		const char *escape = escape_of(*at);
		if (len + n > HTML_TEXT_MAX) {
			strbuf_adds(page, "…");
			return;
		}
		if (!shown)
			strbuf_adds(page, "?");
		else if (escape)
			strbuf_adds(page, escape);
		else
			strbuf_add(page, at, n);
		at += n;
		len += n;
	}
}

void html_count(struct strbuf *page, uint64_t count)
{
	char digits[24];
	size_t len = (size_t)snprintf(digits, sizeof(digits), "%" PRIu64, count);

	for (size_t i = 0; i < len; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			strbuf_adds(page, "\u202f");
		strbuf_add(page, &digits[i], 1);
	}
}

/* Three digits that count. */
static void add_scaled(struct strbuf *page, double value, const char *unit)
{
	strbuf_addf(page, "%.*f\u00a0%s", value < 10 ? 2 : value < 100 ? 1 : 0, value, unit);
}

void html_us(struct strbuf *page, uint64_t us)
{
	uint64_t s = us / 1000000;

	if (us < 1000)
		strbuf_addf(page, "%" PRIu64 "\u00a0µs", us);
	else if (us < 999500)
		add_scaled(page, (double)us / 1e3, "ms");
	else if (s < 60)
		add_scaled(page, (double)us / 1e6, "s");
	else if (s < 3600)
		strbuf_addf(page, "%" PRIu64 "\u00a0min %" PRIu64 "\u00a0s", s / 60, s % 60);
	else
		strbuf_addf(page, "%" PRIu64 "\u00a0h %" PRIu64 "\u00a0min", s / 3600,
			    s % 3600 / 60);
}
