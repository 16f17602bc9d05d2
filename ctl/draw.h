/* Drawings in SVG, inside a page of HTML.
 *
 * Widths are in per cent of the page's column and heights in pixels, so that letters stay letters
 * on a phone; colours are the style sheet's, by class. Each has a title and a description for who
 * cannot see it, which foreign text may be part of. Numbers may be anything: what is no positive
 * number is drawn as nothing, and what goes beyond the drawing is cut.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

struct drawing {
	struct strbuf *page;
	unsigned count; /* of drawings on it, for their ids */
};

struct draw_part {
	const char *class; /* of the style sheet */
	const char *label;
	double value;
};

struct draw_bar {
	const char *title;
	const char *description;
	const struct draw_part *parts; /* from left to right */
	size_t nparts;
	double whole; /* what the width stands for; 0: all parts together */
	double mark;  /* a line at this value; 0: none */
};
void draw_bar(struct drawing *drawing, const struct draw_bar *bar);

struct draw_histogram {
	const char *title;
	const char *description;
	const uint64_t *edges_us; /* upper edges, ascending */
	size_t nedges;
	const uint64_t *buckets; /* nedges + 1 */
	uint64_t marks_us[2];    /* 0: none */
	const char *mark_labels[2];
};
/* Columns of the same width for all buckets, so that drawings with the same edges compare. */
void draw_histogram(struct drawing *drawing, const struct draw_histogram *histogram);
