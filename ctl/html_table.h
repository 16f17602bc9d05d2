/* A table in a page of HTML, which scrolls by itself where the page is too narrow for it.
 *
 * html_table_begin(), then for each row html_row_begin(), its cells and html_row_end(), then
 * html_table_end(). All text is foreign.
 */
#pragma once

#include "ctl/html.h"

/* label: for who does not see it. heads ends with NULL; one that begins with '#' is of numbers. */
void html_table_begin(struct strbuf *page, const char *label, const char *const *heads);
void html_table_end(struct strbuf *page);

/* The first cell says what the row is of. class: of a key of a drawing; NULL: it is none. */
void html_row_begin(struct strbuf *page, const char *class, const char *name);
void html_row_end(struct strbuf *page);

void html_cell_text(struct strbuf *page, const char *text); /* NULL, "": a dash */
void html_cell_count(struct strbuf *page, uint64_t count);
void html_cell_us(struct strbuf *page, uint64_t us); /* 0: a dash */
/* For numbers of another form: what is added to the page between these two. */
void html_cell_begin(struct strbuf *page);
void html_cell_end(struct strbuf *page);
