#include "ctl/dashboard_times.h"

#include <inttypes.h>

#include "base/memory.h"
#include "base/strings.h"
#include "ctl/dashboard_page.h"
#include "ctl/html.h"

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

static void add_us_cell(struct strbuf *page, uint64_t us)
{
	strbuf_adds(page, "<td class=\"number\">");
	html_us(page, us);
	strbuf_adds(page, "</td>");
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
	strbuf_addf(page, "<tr><th scope=\"row\">%s</th><td class=\"number\">", title);
	html_count(page, latency->count);
	strbuf_adds(page, "</td>");
	add_us_cell(page, mean_us(latency));
	add_us_cell(page, latency->p50_us);
	add_us_cell(page, latency->p99_us);
	add_us_cell(page, latency->max_us);
	strbuf_adds(page, "</tr>");
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
	strbuf_adds(
		page,
		"</div><div class=\"scroll\" tabindex=\"0\" role=\"region\" "
		"aria-label=\"Latencies, a table\"><table><thead><tr>"
		"<th scope=\"col\">what</th><th scope=\"col\" class=\"number\">seen</th>"
		"<th scope=\"col\" class=\"number\">mean</th><th scope=\"col\" class=\"number\">p50</th>"
		"<th scope=\"col\" class=\"number\">p99</th><th scope=\"col\" class=\"number\">longest</th></tr></thead>"
		"<tbody>");
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		const Latency *latency = find(latencies, kinds[i].name);
		if (latency && latency->count > 0)
			add_latency_row(page, latency, kinds[i].title);
	}
	strbuf_adds(page, "</tbody></table></div></section>\n");
}

/* ---------------------------------------------------------------- what time is made of */

/* A time in three parts at the most, by the classes of the style sheet. */
struct share {
	const char *title;
	struct {
		const char *label;
		uint64_t us;
	} parts[3];
};

static const char *const classes[] = { "parked", "coming", "spare" };

static uint64_t whole_of(const struct share *share)
{
	return share->parts[0].us + share->parts[1].us + share->parts[2].us;
}

static void add_share(struct drawing *drawing, const struct share *share)
{
	struct strbuf *page = drawing->page, description = {};
	struct draw_part parts[ARRAY_SIZE(classes)];
	uint64_t whole = whole_of(share);

	if (whole == 0)
		return;
	strbuf_adds(page, "<figure><figcaption>");
	html_text(page, share->title);
	strbuf_adds(page, " <span>");
	html_us(page, whole);
	strbuf_adds(page, "</span></figcaption>");
	for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
		parts[i] = (struct draw_part){ classes[i], share->parts[i].label,
					       (double)share->parts[i].us };
		if (share->parts[i].us == 0)
			continue;
		strbuf_addf(&description, "%s%s ", description.len > 0 ? ", " : "",
			    share->parts[i].label);
		html_us(&description, share->parts[i].us);
	}
	draw_bar(drawing, &(struct draw_bar){ .title = share->title,
					      .description = strbuf_text(&description),
					      .parts = parts,
					      .nparts = ARRAY_SIZE(parts) });
	strbuf_adds(page, "<table><tbody>");
	for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
		if (share->parts[i].us == 0)
			continue;
		strbuf_addf(page, "<tr><th scope=\"row\" class=\"key %s\">%s</th>", classes[i],
			    share->parts[i].label);
		add_us_cell(page, share->parts[i].us);
		strbuf_addf(page, "<td class=\"number\">%.0f\u00a0%%</td></tr>",
			    100.0 * (double)share->parts[i].us / (double)whole);
	}
	strbuf_adds(page, "</tbody></table></figure>");
	strbuf_done(&description);
}

static uint64_t sum_us(const Latency *latency)
{
	return latency ? latency->sum_us : 0;
}

static void add_bake(struct drawing *drawing, const Kiln__Factory__V1__TemplateStatus *template)
{
	_cleanup_free_ char *title = xasprintf("The last bake of %s", template->name);
	uint64_t boot_ms = template->boot_ms < template->bake_ms ? template->boot_ms
								 : template->bake_ms;

	add_share(drawing, &(struct share){
				   .title = title,
				   .parts = { { "booting", boot_ms * 1000 },
					      { "warming, freezing, storing",
						(template->bake_ms - boot_ms) * 1000 } },
			   });
}

void dashboard_times_shares(struct drawing *drawing,
			    const Kiln__Factory__V1__StatusResponse *status,
			    const Latencies *latencies)
{
	struct strbuf *page = drawing->page;
	uint64_t clone = mean_us(find(latencies, "clone"));
	uint64_t warm = mean_us(find(latencies, "warm"));

	strbuf_adds(page, "<section><h2>Where the time goes</h2>");
	add_share(drawing,
		  &(struct share){
			  .title = "What claimers waited, together",
			  .parts = { { "from the pool", sum_us(find(latencies, "claim_pooled")) },
				     { "for a clone", sum_us(find(latencies, "claim_cloned")) },
				     { "for a boot", sum_us(find(latencies, "claim_booted")) } },
		  });
	add_share(drawing, &(struct share){
				   .title = "A clone, on the average",
				   .parts = { { "starting and loading the state",
						clone > warm ? clone - warm : 0 },
					      { "warming", warm < clone ? warm : clone } },
			   });
	for (size_t i = 0; i < status->n_templates && i < DASHBOARD_TEMPLATES_MAX; i++)
		add_bake(drawing, status->templates[i]);
	strbuf_adds(page,
		    "<p class=\"quiet\">The steps of a sandbox's whole start are in its trace: "
		    "docs/OPERATION.md, “Where the time of a start goes”.</p></section>\n");
}
