#include "ctl/draw.h"

#include <inttypes.h>
#include <math.h>

#include "base/strings.h"
#include "ctl/html.h"

#define AXIS_MAX_US 1000000000 /* what is beyond has no label */

enum {
	COLUMNS_PX = 72, /* height of the highest column of a histogram */
	LABELS_PX = 28,  /* above it, for what the marks mean: a line each */
	LINE_PX = 13,
	AXIS_PX = 20,     /* below it */
	MARK_LABEL_X = 4, /* pixels to the right of a mark */
};

static void begin(struct drawing *drawing, const char *class, unsigned height_px, const char *title,
		  const char *description)
{
	unsigned id = drawing->count++;

	strbuf_addf(drawing->page,
		    "<svg class=\"%s\" width=\"100%%\" height=\"%u\" role=\"img\" "
		    "aria-labelledby=\"d%ut d%ud\"><title id=\"d%ut\">",
		    class, height_px, id, id, id);
	html_text(drawing->page, title);
	strbuf_addf(drawing->page, "</title><desc id=\"d%ud\">", id);
	html_text(drawing->page, description);
	strbuf_adds(drawing->page, "</desc>");
}

static double usable(double value)
{
	return isfinite(value) && value > 0 ? value : 0;
}

/* ---------------------------------------------------------------- a bar of parts */

void draw_bar(struct drawing *drawing, const struct draw_bar *bar)
{
	double whole = usable(bar->whole), mark = usable(bar->mark), x = 0;

	for (size_t i = 0; usable(bar->whole) == 0 && i < bar->nparts; i++)
		whole += usable(bar->parts[i].value);
	begin(drawing, "bar", 24, bar->title, bar->description);
	for (size_t i = 0; whole > 0 && i < bar->nparts; i++) {
		double width = fmin(usable(bar->parts[i].value) / whole * 100, 100 - x);
		if (width <= 0)
			continue;
		strbuf_addf(drawing->page,
			    "<rect class=\"%s\" x=\"%.3f%%\" y=\"2\" width=\"%.3f%%\" "
			    "height=\"20\"><title>",
			    bar->parts[i].class, x, width);
		html_text(drawing->page, bar->parts[i].label);
		strbuf_adds(drawing->page, "</title></rect>");
		x += width;
	}
	if (whole > 0 && mark > 0 && mark <= whole)
		strbuf_addf(drawing->page,
			    "<line class=\"mark\" x1=\"%.3f%%\" x2=\"%.3f%%\" y1=\"0\" "
			    "y2=\"24\"/>",
			    mark / whole * 100, mark / whole * 100);
	strbuf_adds(drawing->page, "</svg>");
}

/* ---------------------------------------------------------------- a histogram */

/* Where a time lies, in per cent. */
static double place_of(const struct draw_histogram *h, uint64_t us)
{
	size_t i = 0;

	while (i < h->nedges && us > h->edges_us[i])
		i++;
	double low = i > 0 ? (double)h->edges_us[i - 1] : 0;
	double high = i < h->nedges ? (double)h->edges_us[i] : 2 * low;
	double within = high > low ? fmin(((double)us - low) / (high - low), 1) : 0;
	return ((double)i + within) / (double)(h->nedges + 1) * 100;
}

/* At the edges that are a power of ten of microseconds, from 1 ms. */
static void add_axis(struct drawing *drawing, const struct draw_histogram *h)
{
	unsigned base = LABELS_PX + COLUMNS_PX;
	uint64_t last = h->nedges > 0 ? h->edges_us[h->nedges - 1] : 0;

	for (uint64_t us = 1000; us <= AXIS_MAX_US && us <= last; us *= 10) {
		strbuf_addf(drawing->page,
			    "<line class=\"grid\" x1=\"%.3f%%\" x2=\"%.3f%%\" y1=\"%u\" "
			    "y2=\"%u\"/><text class=\"tick\" x=\"%.3f%%\" y=\"%u\">",
			    place_of(h, us), place_of(h, us), LABELS_PX, base + 4, place_of(h, us),
			    base + 17);
		strbuf_addf(drawing->page, us < 1000000 ? "%" PRIu64 " ms" : "%" PRIu64 " s",
			    us < 1000000 ? us / 1000 : us / 1000000);
		strbuf_adds(drawing->page, "</text>");
	}
	strbuf_addf(drawing->page,
		    "<line class=\"axis\" x1=\"0%%\" x2=\"100%%\" y1=\"%u\" y2=\"%u\"/>", base,
		    base);
}

static void add_columns(struct drawing *drawing, const struct draw_histogram *h)
{
	double each = 100.0 / (double)(h->nedges + 1);
	uint64_t highest = 0;

	for (size_t i = 0; i <= h->nedges; i++)
		highest = h->buckets[i] > highest ? h->buckets[i] : highest;
	for (size_t i = 0; i <= h->nedges; i++) {
		if (h->buckets[i] == 0)
			continue;
		/* One among millions shows, too. */
		double height = fmax((double)h->buckets[i] / (double)highest * COLUMNS_PX, 2);
		strbuf_addf(drawing->page,
			    "<rect class=\"column\" x=\"%.3f%%\" y=\"%.1f\" width=\"%.3f%%\" "
			    "height=\"%.1f\"><title>",
			    each * ((double)i + 0.08), LABELS_PX + COLUMNS_PX - height, each * 0.84,
			    height);
		html_count(drawing->page, h->buckets[i]);
		strbuf_adds(drawing->page, i < h->nedges ? " up to " : " beyond ");
		if (h->nedges > 0)
			html_us(drawing->page, h->edges_us[i < h->nedges ? i : i - 1]);
		strbuf_adds(drawing->page, "</title></rect>");
	}
}

/* Each label has a line of its own, and no mark of another crosses it: it begins below. */
static void add_marks(struct drawing *drawing, const struct draw_histogram *h)
{
	size_t last = ARRAY_SIZE(h->marks_us) - 1;

	for (size_t i = 0; i <= last; i++) {
		double x = place_of(h, h->marks_us[i]);
		bool left = place_of(h, h->marks_us[last]) > 88;
		size_t top = LINE_PX * (left ? last - i : i);
		if (h->marks_us[i] == 0)
			continue;
		strbuf_addf(drawing->page,
			    "<line class=\"mark\" x1=\"%.3f%%\" x2=\"%.3f%%\" y1=\"%zu\" "
			    "y2=\"%u\"/><text class=\"%s\" x=\"%.3f%%\" dx=\"%d\" y=\"%zu\">%s"
			    "</text>",
			    x, x, top, LABELS_PX + COLUMNS_PX, left ? "left" : "right", x,
			    left ? -MARK_LABEL_X : MARK_LABEL_X, top + LINE_PX - 3,
			    h->mark_labels[i]);
	}
}

void draw_histogram(struct drawing *drawing, const struct draw_histogram *h)
{
	begin(drawing, "histogram", LABELS_PX + COLUMNS_PX + AXIS_PX, h->title, h->description);
	add_axis(drawing, h);
	add_columns(drawing, h);
	add_marks(drawing, h);
	strbuf_adds(drawing->page, "</svg>");
}
