#include "ctl/html_table.h"

#include <stdbool.h>

#include "base/strings.h"

#define NOTHING "–"

void html_table_begin(struct strbuf *page, const char *label, const char *const *heads)
{
	strbuf_adds(page, "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"");
	html_text(page, label);
	strbuf_adds(page, "\"><table><thead><tr>");
	for (; *heads; heads++) {
		bool number = **heads == '#';
		strbuf_addf(page, "<th scope=\"col\"%s>", number ? " class=\"number\"" : "");
		html_text(page, *heads + number);
		strbuf_adds(page, "</th>");
	}
	strbuf_adds(page, "</tr></thead><tbody>");
}

void html_table_end(struct strbuf *page)
{
	strbuf_adds(page, "</tbody></table></div>");
}

void html_row_begin(struct strbuf *page, const char *class, const char *name)
{
	strbuf_adds(page, "<tr><th scope=\"row\"");
	if (class)
		strbuf_addf(page, " class=\"key %s\"", class);
	strbuf_adds(page, ">");
	html_text(page, name);
	strbuf_adds(page, "</th>");
}

void html_row_end(struct strbuf *page)
{
	strbuf_adds(page, "</tr>");
}

void html_cell_text(struct strbuf *page, const char *text)
{
	strbuf_adds(page, "<td>");
	html_text(page, str_empty(text) ? NOTHING : text);
	strbuf_adds(page, "</td>");
}

void html_cell_begin(struct strbuf *page)
{
	strbuf_adds(page, "<td class=\"number\">");
}

void html_cell_end(struct strbuf *page)
{
	strbuf_adds(page, "</td>");
}

void html_cell_count(struct strbuf *page, uint64_t count)
{
	html_cell_begin(page);
	html_count(page, count);
	html_cell_end(page);
}

void html_cell_us(struct strbuf *page, uint64_t us)
{
	html_cell_begin(page);
	if (us > 0)
		html_us(page, us);
	else
		strbuf_adds(page, NOTHING);
	html_cell_end(page);
}
