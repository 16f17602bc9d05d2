#include "ctl/dashboard_times.h"

#include <inttypes.h>

#include "base/memory.h"
#include "base/strings.h"
#include "ctl/dashboard_page.h"
#include "ctl/html_table.h"
#include "ctl/share.h"
#include "ctl/start_phases.h"

typedef Kiln__Factory__V1__LatenciesResponse Latencies;
typedef Kiln__Factory__V1__Latency Latency;

static const struct kind {
	const char *name, *title;
} kinds[] = {
	{ "claim_pooled", "Claim from the pool" },
	{ "claim_cloned", "Claim that was cloned" },
	{ "claim_booted", "Claim that was booted" },
	{ "clone", "Clone, from spawning to parked" },
	{ "warm", "Of it, warming" },
	{ "bake", "Bake" },
	{ "image_make", "Image of layers" },
};

/* NULL: there is none, or it is not what its edges say. */
static const Latency *find(const Latencies *latencies, const char *name)
{
	for (size_t i = 0; latencies && i < latencies->n_latencies; i++) {
		const Latency *latency = latencies->latencies[i];
		if (str_equal(latency->name, name))
			return latency->n_buckets == latencies->n_edges_us + 1 ? latency : NULL;
	}
	return NULL;
}

static uint64_t mean_us(const Latency *latency)
{
	return latency && latency->count > 0 ? latency->sum_us / latency->count : 0;
}

/* ---------------------------------------------------------------- histograms */

static void add_histogram(struct drawing *drawing, const Latencies *latencies,
			  const Latency *latency, const char *title)
{
	struct strbuf description = {};

	html_count(&description, latency->count);
	strbuf_adds(&description, " seen, half within ");
	html_us(&description, latency->p50_us);
	strbuf_adds(&description, ", 99 of 100 within ");
	html_us(&description, latency->p99_us);
	strbuf_addf(drawing->page, "<figure><figcaption>%s <span>", title);
	html_count(drawing->page, latency->count);
	strbuf_adds(drawing->page, "</span></figcaption>");
	draw_histogram(drawing, &(struct draw_histogram){
					.title = title,
					.description = strbuf_text(&description),
					.edges_us = latencies->edges_us,
					.nedges = latencies->n_edges_us,
					.buckets = latency->buckets,
					.marks_us = { latency->p50_us, latency->p99_us },
					.mark_labels = { "p50", "p99" },
				});
	strbuf_adds(drawing->page, "</figure>");
	strbuf_done(&description);
}

static void add_latency_row(struct strbuf *page, const Latency *latency, const char *title)
{
	html_row_begin(page, NULL, title);
	html_cell_count(page, latency->count);
	html_cell_us(page, mean_us(latency));
	html_cell_us(page, latency->p50_us);
	html_cell_us(page, latency->p99_us);
	html_cell_us(page, latency->max_us);
	html_row_end(page);
}

static bool any_seen(const Latencies *latencies)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		const Latency *latency = find(latencies, kinds[i].name);
		if (latency && latency->count > 0)
			return true;
	}
	return false;
}

void dashboard_times_latencies(struct drawing *drawing, const Latencies *latencies)
{
	static const char *const heads[] = { "what", "#seen",    "#mean", "#p50",
					     "#p99", "#longest", NULL };
	struct strbuf *page = drawing->page;

	strbuf_adds(page, "<section class=\"wide\"><h2>How long it took</h2>");
	if (!any_seen(latencies)) {
		strbuf_addf(page, "<p class=\"quiet\">%s</p></section>\n",
			    latencies
				    ? "Nothing was timed yet."
				    : "This factory is older than this program: it does not say.");
		return;
	}
	strbuf_adds(page, "<div class=\"many\">");
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		const Latency *latency = find(latencies, kinds[i].name);
		if (latency && latency->count > 0)
			add_histogram(drawing, latencies, latency, kinds[i].title);
	}
	strbuf_adds(page, "</div>");
	html_table_begin(page, "Latencies, a table", heads);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		const Latency *latency = find(latencies, kinds[i].name);
		if (latency && latency->count > 0)
			add_latency_row(page, latency, kinds[i].title);
	}
	html_table_end(page);
	strbuf_adds(page, "</section>\n");
}

/* ---------------------------------------------------------------- what time is made of */

static uint64_t sum_us(const Latency *latency)
{
	return latency ? latency->sum_us : 0;
}

static void add_bake(struct drawing *drawing, const Kiln__Factory__V1__TemplateStatus *template)
{
	_cleanup_free_ char *title = xasprintf("The last bake of %s", template->name);
	uint64_t boot_ms = template->boot_ms < template->bake_ms ? template->boot_ms
								 : template->bake_ms;

	share_draw(drawing, &(struct share){
				    .title = title,
				    .parts = { { "booting", boot_ms * 1000 },
					       { "warming, freezing, storing",
						 (template->bake_ms - boot_ms) * 1000 } },
			    });
}

/* The four longest phases, and all others as one. */
static void add_start(struct drawing *drawing, const struct traces *traces)
{
	const struct start *start = traces_typical(traces);
	_cleanup_free_ struct start_phase *phases = xnew_array(struct start_phase,
							       START_PHASES_MAX);
	size_t count = start ? start_phases(start, phases) : 0;
	_cleanup_free_ char *title = xasprintf("A sandbox's start, the typical one of %zu traced",
					       traces->count);
	struct share share = { .title = title };

	for (size_t i = 0; i < count; i++) {
		size_t part = i < SHARE_PARTS - 1 ? i : SHARE_PARTS - 1;
		share.parts[part].us += (uint64_t)(phases[i].ms * 1000);
		share.parts[part].label = i < SHARE_PARTS - 1 ? phases[i].name : "other steps";
	}
	if (count == 0)
		strbuf_adds(drawing->page, "<p class=\"quiet\">No start has been traced yet.</p>");
	share_draw(drawing, &share);
}

void dashboard_times_shares(struct drawing *drawing,
			    const Kiln__Factory__V1__StatusResponse *status,
			    const Latencies *latencies, const struct traces *traces)
{
	struct strbuf *page = drawing->page;
	uint64_t clone = mean_us(find(latencies, "clone"));
	uint64_t warm = mean_us(find(latencies, "warm"));

	strbuf_adds(page, "<section><h2>Where the time goes</h2>");
	if (traces)
		add_start(drawing, traces);
	share_draw(drawing,
		   &(struct share){
			   .title = "What claimers waited, together",
			   .parts = { { "from the pool", sum_us(find(latencies, "claim_pooled")) },
				      { "for a clone", sum_us(find(latencies, "claim_cloned")) },
				      { "for a boot", sum_us(find(latencies, "claim_booted")) } },
		   });
	share_draw(drawing, &(struct share){
				    .title = "A clone, on the average",
				    .parts = { { "starting and loading the state",
						 clone > warm ? clone - warm : 0 },
					       { "warming", warm < clone ? warm : clone } },
			    });
	for (size_t i = 0; i < status->n_templates && i < DASHBOARD_TEMPLATES_MAX; i++)
		add_bake(drawing, status->templates[i]);
	if (!traces)
		strbuf_adds(page, "<p class=\"quiet\">With --traces it shows the steps of a "
				  "sandbox's start.</p>");
	strbuf_adds(page, "</section>\n");
}
