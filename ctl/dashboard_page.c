#include "ctl/dashboard_page.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/strings.h"
#include "ctl/dashboard_times.h"
#include "ctl/draw.h"
#include "ctl/factory_show.h"
#include "ctl/html_table.h"

typedef Kiln__Factory__V1__StatusResponse Status;
typedef Kiln__Factory__V1__TemplateStatus Template;
typedef Kiln__Factory__V1__PoolStatus Pool;

static size_t shown(const Status *status)
{
	return status->n_templates < DASHBOARD_TEMPLATES_MAX ? status->n_templates
							     : DASHBOARD_TEMPLATES_MAX;
}

/* ---------------------------------------------------------------- the head of the page */

static void add_clock(struct strbuf *page, uint64_t s)
{
	strbuf_addf(page, "%02u:%02u:%02u UTC", (unsigned)(s / 3600 % 24), (unsigned)(s / 60 % 60),
		    (unsigned)(s % 60));
}

static void add_factory_line(const struct dashboard_look *look, struct strbuf *page)
{
	const Status *status = look->status;
	_cleanup_free_ char *uptime = duration_text(status->uptime_s * 1000);

	strbuf_adds(page, "kiln-factory ");
	html_text(page, status->version);
	strbuf_addf(page, ", pid %u, up %s, accelerator ", status->pid, uptime);
	html_text(page, status->accelerator);
	strbuf_adds(page, " · ");
}

static void add_head(const struct dashboard_look *look, struct strbuf *page)
{
	bool on = look->status && status_is_on(look->status);

	strbuf_adds(page, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
			  "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
			  "<meta name=\"color-scheme\" content=\"light dark\">");
	if (!look->still)
		strbuf_addf(page, "<meta http-equiv=\"refresh\" content=\"%d\">",
			    DASHBOARD_REFRESH_S);
	strbuf_adds(page, "<title>Kiln on ");
	html_text(page, look->host);
	strbuf_adds(page, "</title><link rel=\"icon\" href=\"/icon.svg\">"
			  "<link rel=\"stylesheet\" href=\"/style.css\"></head>\n<body><header><h1>"
			  "Kiln <span>");
	html_text(page, look->host);
	strbuf_addf(page,
		    "</span></h1><p class=\"state %s\">vm factory is %s</p><p class=\"quiet\">",
		    on ? "on" : "off", on ? "on" : "off");
	if (look->status)
		add_factory_line(look, page);
	strbuf_adds(page, "as of ");
	add_clock(page, look->taken_s);
	if (look->still)
		strbuf_adds(page, " · <a href=\"/\">follow</a></p></header>\n<main>\n");
	else
		strbuf_addf(page,
			    ", again every %d s · <a href=\"/still\">hold still</a></p></header>\n"
			    "<main>\n",
			    DASHBOARD_REFRESH_S);
}

/* ---------------------------------------------------------------- the four figures */

static uint64_t claims_of(const Kiln__Factory__V1__ClaimStatus *claims)
{
	return claims->hits + claims->clones + claims->boots + claims->failed;
}

static void begin_tile(struct strbuf *page, const char *name)
{
	strbuf_addf(page, "<div class=\"tile\"><dt>%s</dt><dd>", name);
}

static void add_tiles(const Status *status, struct strbuf *page)
{
	const Kiln__Factory__V1__ClaimStatus *claims = status->claims;
	uint64_t parked = 0, wanted = 0, claimed = 0;

	for (size_t i = 0; i < status->n_templates; i++) {
		const Pool *pool = status->templates[i]->pool;
		parked += pool ? pool->parked : 0;
		wanted += pool ? pool->target : 0;
		claimed += pool ? pool->claimed : 0;
	}
	strbuf_adds(page, "<dl class=\"tiles\">");
	begin_tile(page, "Served from the pool");
	if (claims && claims_of(claims) > 0)
		strbuf_addf(page, "%.1f\u00a0%%",
			    100.0 * (double)claims->hits / (double)claims_of(claims));
	else
		strbuf_adds(page, "–");
	strbuf_adds(page, "</dd></div>");
	begin_tile(page, "Parked");
	html_count(page, parked);
	strbuf_adds(page, " <small>of ");
	html_count(page, wanted);
	strbuf_adds(page, "</small></dd></div>");
	begin_tile(page, "Claimed now");
	html_count(page, claimed);
	strbuf_adds(page, "</dd></div>");
	begin_tile(page, "Claim from the pool, median");
	if (claims && claims->hits > 0)
		html_us(page, claims->hit_p50_us);
	else
		strbuf_adds(page, "–");
	strbuf_adds(page, "</dd></div></dl>\n");
}

/* ---------------------------------------------------------------- what needs somebody */

struct notices {
	struct strbuf *page;
	size_t count;
};

/* Nothing where the text is empty. */
static void notice(struct notices *notices, const char *subject, const char *what, const char *text)
{
	if (str_empty(text))
		return;
	if (notices->count++ == 0)
		strbuf_adds(notices->page,
			    "<section class=\"wide notices\"><h2>Needs a look</h2><ul>");
	strbuf_adds(notices->page, "<li><b>");
	html_text(notices->page, subject);
	strbuf_addf(notices->page, "</b> %s: ", what);
	html_text(notices->page, text);
	strbuf_adds(notices->page, "</li>");
}

static void add_notices(const Status *status, struct strbuf *page)
{
	struct notices notices = { page, 0 };

	for (size_t i = 0; i < shown(status); i++) {
		const Template *template = status->templates[i];
		notice(&notices, template->name,
		       str_equal(template->state, "broken") ? "is broken" : "had an error",
		       template->error);
		notice(&notices, template->name, "is stale", template->stale);
		notice(&notices, template->name, "could not be rebuilt", template->rebuild_error);
		/* One that is broken says so, and its pool that it is. */
		if (template->pool && str_empty(template->error))
			notice(&notices, template->name, "is not refilled",
			       template->pool->obstacle);
	}
	notice(&notices, "KVM", "cannot be used", status->kvm_obstacle);
	if (status->image_cache)
		notice(&notices, "Images", "had an error", status->image_cache->error);
	if (notices.count > 0)
		strbuf_adds(page, "</ul></section>\n");
}

/* ---------------------------------------------------------------- pools */

static const Pool no_pool = KILN__FACTORY__V1__POOL_STATUS__INIT;

static const Pool *pool_of(const Template *template)
{
	return template->pool ? template->pool : &no_pool;
}

static double missing(const Pool *pool)
{
	double there = (double)pool->parked + pool->coming;

	return pool->target > there ? pool->target - there : 0;
}

static double width_of(const Pool *pool)
{
	return (double)pool->parked + pool->coming + missing(pool) + pool->spares + pool->claimed;
}

static void add_pool_drawing(struct drawing *drawing, const Template *template, double whole)
{
	const Pool *pool = pool_of(template);
	const struct draw_part parts[] = {
		{ "parked", "parked", pool->parked },    { "coming", "coming", pool->coming },
		{ "missing", "missing", missing(pool) }, { "spare", "spare", pool->spares },
		{ "claimed", "claimed", pool->claimed },
	};
	_cleanup_free_ char *title = xasprintf("Pool of %s", template->name);
	_cleanup_free_ char *description = xasprintf(
		"%u parked of %u wanted, %u coming, %u spare, %u claimed", pool->parked,
		pool->target, pool->coming, pool->spares, pool->claimed);

	strbuf_adds(drawing->page, "<figure class=\"pool\"><figcaption>");
	html_text(drawing->page, template->name);
	strbuf_adds(drawing->page, " <span>");
	html_count(drawing->page, pool->parked);
	strbuf_adds(drawing->page, " of ");
	html_count(drawing->page, pool->target);
	strbuf_adds(drawing->page, " parked</span></figcaption>");
	draw_bar(drawing, &(struct draw_bar){
				  .title = title,
				  .description = description,
				  .parts = parts,
				  .nparts = ARRAY_SIZE(parts),
				  .whole = whole > 0 ? whole : 1,
				  .mark = pool->target,
			  });
	strbuf_adds(drawing->page, "</figure>");
}

static void add_pool_row(struct strbuf *page, const Template *template)
{
	const Pool *pool = pool_of(template);

	html_row_begin(page, NULL, template->name);
	html_cell_count(page, pool->parked);
	html_cell_count(page, pool->target);
	html_cell_count(page, pool->coming);
	html_cell_count(page, pool->spares);
	html_cell_count(page, pool->claimed);
	html_cell_count(page, pool->waiting);
	html_cell_begin(page);
	strbuf_addf(page, "%.2f", pool->claims_per_s);
	html_cell_end(page);
	html_cell_text(page, pool->mode);
	html_row_end(page);
}

static void add_pools(struct drawing *drawing, const Status *status)
{
	static const char *const heads[] = { "template", "#parked",  "#wanted",         "#coming",
					     "#spare",   "#claimed", "#claims waiting", "#claims/s",
					     "mode",     NULL };
	struct strbuf *page = drawing->page;
	double whole = 0;

	strbuf_adds(page, "<section class=\"wide\"><h2>Pools</h2>");
	if (status->n_templates == 0)
		strbuf_adds(page, "<p class=\"quiet\">This factory has no templates.</p>");
	for (size_t i = 0; i < shown(status); i++)
		if (width_of(pool_of(status->templates[i])) > whole)
			whole = width_of(pool_of(status->templates[i]));
	for (size_t i = 0; i < shown(status); i++)
		add_pool_drawing(drawing, status->templates[i], whole);
	if (status->n_templates > shown(status))
		strbuf_addf(page,
			    "<p>%zu more are not shown; kiln-ctl factory status has them.</p>",
			    status->n_templates - shown(status));
	strbuf_adds(page, "<ul class=\"legend\"><li class=\"parked\">parked</li>"
			  "<li class=\"coming\">coming</li><li class=\"missing\">missing</li>"
			  "<li class=\"spare\">spare</li><li class=\"claimed\">claimed</li>"
			  "<li class=\"mark\">wanted</li></ul>");
	html_table_begin(page, "Pools, a table", heads);
	for (size_t i = 0; i < shown(status); i++)
		add_pool_row(page, status->templates[i]);
	html_table_end(page);
	strbuf_adds(page, "</section>\n");
}

/* ---------------------------------------------------------------- claims */

static void add_claim_rows(struct strbuf *page, const Status *status, const char *counter,
			   const char *class, const char *name, uint64_t all)
{
	for (size_t i = 0; i < status->n_counters; i++) {
		const Kiln__Factory__V1__Counter *count = status->counters[i];
		if (!str_equal(count->name, counter))
			continue;
		html_row_begin(page, class, name);
		html_cell_text(page, count->reason);
		html_cell_count(page, count->value);
		html_cell_begin(page);
		strbuf_addf(page, "%.1f\u00a0%%",
			    all > 0 ? 100.0 * (double)count->value / (double)all : 0);
		html_cell_end(page);
		html_row_end(page);
	}
}

static void add_claims(struct drawing *drawing, const Status *status)
{
	static const char *const heads[] = { "claims", "reason", "#how many", "#share", NULL };
	const Kiln__Factory__V1__ClaimStatus *claims = status->claims;
	struct strbuf *page = drawing->page;
	uint64_t all = claims ? claims_of(claims) : 0;

	strbuf_adds(page, "<section><h2>How claims were served</h2>");
	if (all == 0) {
		strbuf_adds(page, "<p class=\"quiet\">Nothing was claimed yet.</p></section>\n");
		return;
	}
	const struct draw_part parts[] = {
		{ "parked", "pooled", (double)claims->hits },
		{ "coming", "cloned", (double)claims->clones },
		{ "spare", "booted", (double)claims->boots },
		{ "failed", "failed", (double)claims->failed },
	};
	_cleanup_free_ char *description = xasprintf(
		"%" PRIu64 " pooled, %" PRIu64 " cloned, %" PRIu64 " booted, %" PRIu64 " failed",
		claims->hits, claims->clones, claims->boots, claims->failed);
	draw_bar(drawing, &(struct draw_bar){
				  .title = "Claims since the factory's start",
				  .description = description,
				  .parts = parts,
				  .nparts = ARRAY_SIZE(parts),
			  });
	html_table_begin(page, "Claims, a table", heads);
	add_claim_rows(page, status, "claims_pooled", "parked", "pooled", all);
	add_claim_rows(page, status, "claims_cloned", "coming", "cloned", all);
	add_claim_rows(page, status, "claims_booted", "spare", "booted", all);
	add_claim_rows(page, status, "claims_failed", "failed", "failed", all);
	html_table_end(page);
	strbuf_adds(page, "</section>\n");
}

/* ---------------------------------------------------------------- templates and failures */

static void add_template_row(struct strbuf *page, const Template *template, uint64_t now_s)
{
	const char *phase = template->phase;

	html_row_begin(page, NULL, template->name);
	strbuf_adds(page, "<td>");
	html_text(page, template->state);
	if (!str_empty(phase)) {
		strbuf_adds(page, ": ");
		html_text(page, phase);
	}
	strbuf_adds(page, !str_empty(template->stale) ? ", stale" : "");
	strbuf_adds(page, template->rebuilding ? ", rebuilding" : "");
	strbuf_adds(page, "</td><td>");
	if (template->baked_at > 0 && template->baked_at <= now_s) {
		_cleanup_free_ char *age = duration_text((now_s - template->baked_at) * 1000);
		strbuf_addf(page, "%s ago", age);
	} else {
		strbuf_adds(page, "–");
	}
	strbuf_adds(page, "</td>");
	html_cell_us(page, template->bake_ms * 1000);
	html_cell_us(page, template->boot_ms * 1000);
	_cleanup_free_ char *id = template->id ? xstrndup(template->id, 12) : NULL;
	html_cell_text(page, id);
	html_row_end(page);
}

static void add_templates(struct strbuf *page, const Status *status, uint64_t now_s)
{
	static const char *const heads[] = { "template",       "state", "baked", "#bake took",
					     "#of it booting", "id",    NULL };

	if (status->n_templates == 0)
		return;
	strbuf_adds(page, "<section class=\"wide\"><h2>Templates and their last bakes</h2>");
	html_table_begin(page, "Templates, a table", heads);
	for (size_t i = 0; i < shown(status); i++)
		add_template_row(page, status->templates[i], now_s);
	html_table_end(page);
	strbuf_adds(page, "</section>\n");
}

static const struct {
	const char *counter, *name;
} failures[] = {
	{ "claims_failed", "claims refused or failed" },
	{ "claims_taken_back", "claims whose claimer went away" },
	{ "clones_failed", "clones failed" },
	{ "parked_lost", "parked machines that died" },
	{ "sandboxes_ended", "claimed machines that ended unreleased" },
	{ "refills_held", "times the host had no room" },
	{ "bakes_failed", "bakes failed" },
	{ "images_failed", "images of layers failed" },
	{ "trace_lost", "spans of traces lost" },
};

static void add_failures(struct strbuf *page, const Status *status)
{
	static const char *const heads[] = { "what", "why", "#how often", NULL };
	size_t rows = 0;

	strbuf_adds(page, "<section><h2>What went wrong since the start</h2>");
	for (size_t f = 0; f < ARRAY_SIZE(failures); f++) {
		for (size_t i = 0; i < status->n_counters; i++) {
			const Kiln__Factory__V1__Counter *count = status->counters[i];
			if (!str_equal(count->name, failures[f].counter) || count->value == 0)
				continue;
			if (rows++ == 0)
				html_table_begin(page, "Failures, a table", heads);
			html_row_begin(page, NULL, failures[f].name);
			html_cell_text(page, count->reason);
			html_cell_count(page, count->value);
			html_row_end(page);
		}
	}
	if (rows > 0)
		html_table_end(page);
	else
		strbuf_adds(page, "<p class=\"quiet\">Nothing.</p>");
	strbuf_adds(page, "</section>\n");
}

/* ---------------------------------------------------------------- the page */

void dashboard_page_write(const struct dashboard_look *look, struct strbuf *page)
{
	struct drawing drawing = { .page = page };
	const Status *status = look->status;

	add_head(look, page);
	if (status) {
		add_tiles(status, page);
		add_notices(status, page);
		add_pools(&drawing, status);
		strbuf_adds(page, "<div class=\"stack\">");
		add_claims(&drawing, status);
		add_failures(page, status);
		strbuf_adds(page, "</div>");
		dashboard_times_shares(&drawing, status, look->latencies, look->traces);
		dashboard_times_latencies(&drawing, look->latencies);
		add_templates(page, status, look->taken_s);
	} else {
		strbuf_adds(page, "<section class=\"wide notices\"><h2>No answer</h2><p>");
		html_text(page, look->obstacle);
		strbuf_adds(page, "</p></section>\n");
	}
	strbuf_adds(page, "</main></body></html>\n");
}
