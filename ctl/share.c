#include "ctl/share.h"

#include "base/strings.h"
#include "ctl/html_table.h"

/* Of the style sheet. */
static const char *const classes[SHARE_PARTS] = { "parked", "coming", "spare", "claimed",
						  "failed" };

static void add_row(struct strbuf *page, const struct share *share, size_t part, uint64_t whole)
{
	html_row_begin(page, classes[part], share->parts[part].label);
	html_cell_us(page, share->parts[part].us);
	html_cell_begin(page);
	strbuf_addf(page, "%.0f\u00a0%%", 100.0 * (double)share->parts[part].us / (double)whole);
	html_cell_end(page);
	html_row_end(page);
}

static void describe(const struct share *share, struct strbuf *description)
{
	for (size_t i = 0; i < SHARE_PARTS; i++) {
		if (share->parts[i].us == 0)
			continue;
		strbuf_addf(description, "%s%s ", description->len > 0 ? ", " : "",
			    share->parts[i].label);
		html_us(description, share->parts[i].us);
	}
}

void share_draw(struct drawing *drawing, const struct share *share)
{
	_cleanup_(strbuf_done) struct strbuf description = {};
	struct strbuf *page = drawing->page;
	struct draw_part parts[SHARE_PARTS];
	uint64_t whole = 0;

	for (size_t i = 0; i < SHARE_PARTS; i++) {
		parts[i] = (struct draw_part){ classes[i], share->parts[i].label,
					       (double)share->parts[i].us };
		whole += share->parts[i].us;
	}
	if (whole == 0)
		return;
	strbuf_adds(page, "<figure><figcaption>");
	html_text(page, share->title);
	strbuf_adds(page, " <span>");
	html_us(page, whole);
	strbuf_adds(page, "</span></figcaption>");
	describe(share, &description);
	draw_bar(drawing, &(struct draw_bar){ .title = share->title,
					      .description = strbuf_text(&description),
					      .parts = parts,
					      .nparts = SHARE_PARTS });
	strbuf_adds(page, "<table><tbody>");
	for (size_t i = 0; i < SHARE_PARTS; i++)
		if (share->parts[i].us > 0)
			add_row(page, share, i, whole);
	strbuf_adds(page, "</tbody></table></figure>");
}
