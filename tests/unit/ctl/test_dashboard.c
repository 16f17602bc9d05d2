/* The dashboard's page, as drawn of what a factory may say. */
#include "tests/unit/ctl/harness.h"

#include <inttypes.h>

#include "ctl/dashboard_page.h"
#include "ctl/draw.h"
#include "ctl/html.h"
#include "ctl/start_phases.h"

typedef Kiln__Factory__V1__StatusResponse Status;
typedef Kiln__Factory__V1__TemplateStatus Template;
typedef Kiln__Factory__V1__PoolStatus Pool;
typedef Kiln__Factory__V1__LatenciesResponse Latencies;
typedef Kiln__Factory__V1__Latency Latency;

static char *text(const char *literal)
{
	return (char *)(uintptr_t)literal;
}

static char *page_of(const Status *status, const Latencies *latencies)
{
	const struct dashboard_look look = {
		.host = "n<1>",
		.taken_s = 1000000,
		.obstacle = status ? NULL : "no factory at <there>",
		.status = status,
		.latencies = latencies,
	};
	struct strbuf page = {};

	dashboard_page_write(&look, &page);
	return strbuf_steal(&page);
}

static size_t occurrences(const char *page, const char *part)
{
	size_t count = 0;

	for (const char *at = page; (at = strstr(at, part)); at += strlen(part))
		count++;
	return count;
}

/* Every element that is begun is ended, in order; attributes have double quotes. What this accepts
 * a parser of XML would, apart from the elements that HTML leaves open. */
static void assert_well_formed(const char *page)
{
	char open[64][32];
	size_t depth = 0;

	for (const char *at = strchr(page, '<'); at; at = strchr(at, '<')) {
		const char *end = strchr(at, '>');
		bool closing = at[1] == '/';
		char name[32] = {};
		assert_non_null(end);
		size_t quotes = 0;
		for (const char *c = at + 1; c < end; c++) {
			quotes += *c == '"';
			assert_true(*c != '<' && *c != '\'');
		}
		assert_int_equal(quotes % 2, 0);
		sscanf(at + 1 + closing, "%31[a-z0-9]", name);
		if (closing) {
			assert_true(depth > 0);
			assert_string_equal(name, open[--depth]);
		} else if (at[1] != '!' && end[-1] != '/' && !str_equal(name, "meta") &&
			   !str_equal(name, "link")) {
			assert_true(depth < ARRAY_SIZE(open));
			strcpy(open[depth++], name);
		}
		at = end;
	}
	assert_int_equal(depth, 0);
}

/* ---------------------------------------------------------------- words and numbers */

#define assert_html(call, wanted)                                                                  \
	do {                                                                                       \
		_cleanup_(strbuf_done) struct strbuf b = {};                                       \
		call;                                                                              \
		assert_string_equal(strbuf_text(&b), wanted);                                      \
	} while (0)

static void test_text_is_escaped(void **state _unused_)
{
	_cleanup_free_ char *lengthy = xcalloc(1, 5001);
	struct strbuf cut = {};

	assert_html(html_text(&b, "a<b>&\"c\"'d'"), "a&lt;b&gt;&amp;&quot;c&quot;&#39;d&#39;");
	assert_html(html_text(&b, "\x1b[2J\n\xc2\x9b \xff\xfeé"), "?[2J?? ??é");
	assert_html(html_text(&b, NULL), "");
	memset(lengthy, '<', 5000);
	html_text(&cut, lengthy);
	assert_int_equal(cut.len, HTML_TEXT_MAX * strlen("&lt;") + strlen("…"));
	strbuf_done(&cut);
}

static void test_numbers_are_for_people(void **state _unused_)
{
	assert_html(html_count(&b, 0), "0");
	assert_html(html_count(&b, 999), "999");
	assert_html(html_count(&b, 1000), "1\u202f000");
	assert_html(html_count(&b, UINT64_MAX), "18\u202f446\u202f744\u202f073\u202f709\u202f551"
						"\u202f615");
	assert_html(html_us(&b, 0), "0\u00a0µs");
	assert_html(html_us(&b, 999), "999\u00a0µs");
	assert_html(html_us(&b, 1234), "1.23\u00a0ms");
	assert_html(html_us(&b, 12345), "12.3\u00a0ms");
	assert_html(html_us(&b, 999499), "999\u00a0ms");
	assert_html(html_us(&b, 999500), "1.00\u00a0s");
	assert_html(html_us(&b, 61000000), "1\u00a0min 1\u00a0s");
	assert_html(html_us(&b, 7260000000), "2\u00a0h 1\u00a0min");
}

/* ---------------------------------------------------------------- pages */

static void test_no_factory(void **state _unused_)
{
	_cleanup_free_ char *page = page_of(NULL, NULL);

	assert_well_formed(page);
	assert_contains(page, "vm factory is off");
	assert_contains(page, "no factory at &lt;there&gt;");
	assert_contains(page, "n&lt;1&gt;");
}

static void test_an_empty_factory(void **state _unused_)
{
	Status status = KILN__FACTORY__V1__STATUS_RESPONSE__INIT;
	Latencies latencies = KILN__FACTORY__V1__LATENCIES_RESPONSE__INIT;
	_cleanup_free_ char *page = page_of(&status, &latencies);
	_cleanup_free_ char *older = page_of(&status, NULL);

	assert_well_formed(page);
	assert_contains(page, "This factory has no templates.");
	assert_contains(page, "Nothing was claimed yet.");
	assert_contains(page, "Nothing was timed yet.");
	assert_null(strstr(page, "<svg"));
	assert_null(strstr(page, "Needs a look"));
	assert_null(strstr(page, "nan"));
	assert_well_formed(older);
	assert_contains(older, "older than this program");
}

static void test_a_factory_at_work(void **state _unused_)
{
	Pool pool = KILN__FACTORY__V1__POOL_STATUS__INIT;
	Template template = KILN__FACTORY__V1__TEMPLATE_STATUS__INIT, *templates[] = { &template };
	Kiln__Factory__V1__ClaimStatus claims = KILN__FACTORY__V1__CLAIM_STATUS__INIT;
	Kiln__Factory__V1__Counter cloned = KILN__FACTORY__V1__COUNTER__INIT;
	Kiln__Factory__V1__Counter *counters[] = { &cloned };
	Status status = KILN__FACTORY__V1__STATUS_RESPONSE__INIT;
	uint64_t edges[] = { 1000, 10000 }, buckets[] = { 3, 0, 1 };
	Latency latency = KILN__FACTORY__V1__LATENCY__INIT, *list[] = { &latency };
	Latencies latencies = KILN__FACTORY__V1__LATENCIES_RESPONSE__INIT;

	pool.target = 4;
	pool.parked = 1;
	pool.coming = 1;
	pool.spares = 2;
	pool.claimed = 4;
	template.name = text("default");
	template.state = text("ready");
	template.stale = text("kernel changed");
	template.pool = &pool;
	template.bake_ms = 4000;
	template.boot_ms = 1000;
	claims.hits = 3;
	claims.clones = 1;
	claims.hit_p50_us = 700;
	cloned.name = text("claims_cloned");
	cloned.reason = text("the pool was empty");
	cloned.value = 1;
	status.templates = templates;
	status.n_templates = 1;
	status.claims = &claims;
	status.counters = counters;
	status.n_counters = 1;
	latency.name = text("claim_pooled");
	latency.buckets = buckets;
	latency.n_buckets = 3;
	latency.count = 4;
	latency.sum_us = 30000;
	latency.p50_us = 500;
	latency.p99_us = 12000;
	latencies.edges_us = edges;
	latencies.n_edges_us = 2;
	latencies.latencies = list;
	latencies.n_latencies = 1;
	_cleanup_free_ char *page = page_of(&status, &latencies);

	assert_well_formed(page);
	assert_contains(page, "vm factory is on");
	assert_contains(page, "75.0\u00a0%");
	/* Ten machines wide: 1 parked, 1 coming, 2 missing, 2 spare, 4 claimed; 4 are wanted. */
	assert_contains(page, "<rect class=\"parked\" x=\"0.000%\" y=\"2\" width=\"10.000%\"");
	assert_contains(page, "<rect class=\"missing\" x=\"20.000%\" y=\"2\" width=\"20.000%\"");
	assert_contains(page, "<rect class=\"claimed\" x=\"60.000%\" y=\"2\" width=\"40.000%\"");
	assert_contains(page, "<line class=\"mark\" x1=\"40.000%\"");
	assert_contains(page, "1 parked of 4 wanted, 1 coming, 2 spare, 4 claimed</desc>");
	assert_contains(page, "the pool was empty");
	assert_contains(page, "is stale: kernel changed");
	/* A column of full height and one of a third of it; an empty bucket has none. */
	assert_int_equal(occurrences(page, "class=\"column\""), 2);
	assert_contains(page, "height=\"72.0\"");
	assert_contains(page, "height=\"24.0\"");
	assert_contains(page, "The last bake of default");
	assert_contains(page, "75\u00a0%");
	assert_int_equal(occurrences(page, "<svg"), occurrences(page, "<desc"));
}

static void test_foreign_words_do_no_harm(void **state _unused_)
{
	static const char evil[] = "</title><script>alert('\"&\")</script>\x1b";
	Pool pool = KILN__FACTORY__V1__POOL_STATUS__INIT;
	Template template = KILN__FACTORY__V1__TEMPLATE_STATUS__INIT, *templates[] = { &template };
	Kiln__Factory__V1__ClaimStatus claims = KILN__FACTORY__V1__CLAIM_STATUS__INIT;
	Kiln__Factory__V1__ImageCacheStatus images = KILN__FACTORY__V1__IMAGE_CACHE_STATUS__INIT;
	Kiln__Factory__V1__Counter pooled = KILN__FACTORY__V1__COUNTER__INIT;
	Kiln__Factory__V1__Counter failed = KILN__FACTORY__V1__COUNTER__INIT;
	Kiln__Factory__V1__Counter *counters[] = { &pooled, &failed };
	Status status = KILN__FACTORY__V1__STATUS_RESPONSE__INIT;

	pool.mode = pool.obstacle = text(evil);
	template.name = template.state = template.phase = template.id = text(evil);
	template.stale = template.rebuild_error = text(evil);
	template.pool = &pool;
	template.bake_ms = 1;
	images.error = text(evil);
	claims.hits = 1;
	pooled.name = text("claims_pooled");
	failed.name = text("bakes_failed");
	pooled.value = failed.value = 1;
	pooled.reason = failed.reason = text(evil);
	status.version = status.accelerator = status.kvm_obstacle = text(evil);
	status.templates = templates;
	status.n_templates = 1;
	status.claims = &claims;
	status.counters = counters;
	status.n_counters = 2;
	status.image_cache = &images;
	_cleanup_free_ char *page = page_of(&status, NULL);

	assert_well_formed(page);
	assert_null(strstr(page, "<script"));
	assert_null(strstr(page, "\x1b"));
	/* Each of them is there, as words: the last nine whole, names of drawings among them. */
	assert_true(occurrences(page, "&lt;script&gt;alert(&#39;&quot;&amp;&quot;)") >= 12);
}

/* What no factory says, but a message can. */
static void test_large_and_odd_numbers(void **state _unused_)
{
	Pool pool = KILN__FACTORY__V1__POOL_STATUS__INIT;
	Template template = KILN__FACTORY__V1__TEMPLATE_STATUS__INIT, *templates[300];
	Kiln__Factory__V1__ClaimStatus claims = KILN__FACTORY__V1__CLAIM_STATUS__INIT;
	Status status = KILN__FACTORY__V1__STATUS_RESPONSE__INIT;
	uint64_t edges[] = { 0, UINT64_MAX }, buckets[] = { UINT64_MAX, 1, UINT64_MAX };
	Latency latency = KILN__FACTORY__V1__LATENCY__INIT, torn = latency;
	Latency *list[] = { &latency, &torn };
	Latencies latencies = KILN__FACTORY__V1__LATENCIES_RESPONSE__INIT;

	pool.parked = pool.target = pool.coming = pool.spares = pool.claimed = UINT32_MAX;
	pool.claims_per_s = 1e300;
	template.name = text("t");
	template.pool = &pool;
	template.bake_ms = UINT64_MAX;
	template.boot_ms = UINT64_MAX;
	template.baked_at = UINT64_MAX;
	for (size_t i = 0; i < ARRAY_SIZE(templates); i++)
		templates[i] = &template;
	claims.hits = claims.clones = UINT64_MAX / 2;
	status.templates = templates;
	status.n_templates = ARRAY_SIZE(templates);
	status.claims = &claims;
	status.uptime_s = UINT64_MAX;
	latency.name = text("clone");
	latency.buckets = buckets;
	latency.n_buckets = 3;
	latency.count = latency.sum_us = latency.p50_us = latency.p99_us = UINT64_MAX;
	torn.name = text("bake");
	torn.count = 7; /* and no buckets */
	latencies.edges_us = edges;
	latencies.n_edges_us = 2;
	latencies.latencies = list;
	latencies.n_latencies = 2;
	_cleanup_free_ char *page = page_of(&status, &latencies);

	assert_well_formed(page);
	assert_null(strstr(page, "nan"));
	assert_null(strstr(page, "inf%"));
	assert_null(strstr(page, "=\"-"));
	assert_contains(page, "200 more are not shown");
	assert_int_equal(occurrences(page, "<figure class=\"pool\">"), DASHBOARD_TEMPLATES_MAX);
	assert_int_equal(occurrences(page, "class=\"histogram\""), 1);
}

/* ---------------------------------------------------------------- where a start's time goes */

static void add_span(struct traces *traces, const char *id, const char *who, const char *step,
		     unsigned begin_ms, unsigned end_ms)
{
	_cleanup_free_ char *line = xasprintf(
		"{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\","
		"\"value\":{\"stringValue\":\"kiln-%s\"}}]},\"scopeSpans\":[{\"spans\":[{\"name\":"
		"\"%s\",\"startTimeUnixNano\":\"%u000000\",\"endTimeUnixNano\":\"%u000000\","
		"\"attributes\":[{\"key\":\"kiln.sandbox\",\"value\":{\"stringValue\":\"%s\"}}]}]}]}]}\n",
		who, step, begin_ms + 1000, end_ms + 1000, id);

	traces_add(traces, line, strlen(line));
}

static void add_start(struct traces *traces, const char *id)
{
	add_span(traces, id, "shim", "sandbox", 0, 900);
	add_span(traces, id, "shim", "shim.start", 0, 10);
	add_span(traces, id, "shim", "claim", 5, 27);
	add_span(traces, id, "shim", "create", 40, 105);
	add_span(traces, id, "agent", "create_container", 60, 90);
	add_span(traces, id, "shim", "start_container", 110, 120);
	add_span(traces, id, "shim", "exit", 120, 800);
	traces_finish(traces);
}

#define assert_phase(phase, wanted, wanted_ms)                                                     \
	do {                                                                                       \
		assert_string_equal((phase).name, wanted);                                         \
		assert_true((phase).ms > (wanted_ms)-0.01 && (phase).ms < (wanted_ms) + 0.01);     \
	} while (0)

static void test_phases_add_up_to_the_start(void **state _unused_)
{
	_cleanup_(traces_done) struct traces traces = {};
	struct start_phase phases[START_PHASES_MAX];

	add_start(&traces, "a");
	assert_int_equal(start_phases(&traces.starts[0], phases), 6);
	assert_phase(phases[0], "shim create", 35);
	assert_phase(phases[1], "agent create_container", 30);
	assert_phase(phases[2], "shim claim", 22);
	assert_phase(phases[3], "not traced", 18);
	assert_phase(phases[4], "shim start_container", 10);
	assert_phase(phases[5], "shim shim.start", 5);
}

static void test_no_container_was_started(void **state _unused_)
{
	_cleanup_(traces_done) struct traces traces = {};
	struct start_phase phases[START_PHASES_MAX];

	add_span(&traces, "a", "shim", "claim", 0, 10);
	traces_finish(&traces);
	assert_int_equal(start_phases(&traces.starts[0], phases), 0);
}

static void test_many_steps_are_as_many_phases_at_most(void **state _unused_)
{
	_cleanup_(traces_done) struct traces traces = {};
	struct start_phase phases[START_PHASES_MAX];
	double sum = 0;

	for (unsigned i = 0; i < 100; i++) {
		_cleanup_free_ char *step = xasprintf("step%u", i);
		add_span(&traces, "a", "guest", step, 10 * i, 10 * i + 10);
	}
	add_span(&traces, "a", "shim", "start_container", 1000, 1010);
	traces_finish(&traces);
	assert_int_equal(start_phases(&traces.starts[0], phases), START_PHASES_MAX);
	for (size_t i = 0; i < START_PHASES_MAX; i++)
		sum += phases[i].ms;
	assert_true(sum > 1009.9 && sum < 1010.1);
}

static void test_a_traced_start_is_drawn(void **state _unused_)
{
	Status status = KILN__FACTORY__V1__STATUS_RESPONSE__INIT;
	_cleanup_(traces_done) struct traces traces = {};
	struct dashboard_look look = { .host = "n", .status = &status, .traces = &traces };
	_cleanup_(strbuf_done) struct strbuf none = {}, page = {};

	dashboard_page_write(&look, &none);
	assert_contains(strbuf_text(&none), "No start has been traced yet.");
	add_start(&traces, "a");
	dashboard_page_write(&look, &page);
	assert_well_formed(strbuf_text(&page));
	assert_contains(strbuf_text(&page), "the typical one of 1 traced");
	assert_contains(strbuf_text(&page), "agent create_container");
	/* The fifth and sixth. */
	assert_contains(strbuf_text(&page), "other steps</th><td class=\"number\">15.0\u00a0ms");
}

static void test_a_page_that_holds_still(void **state _unused_)
{
	struct dashboard_look look = { .host = "n", .obstacle = "x" };
	_cleanup_(strbuf_done) struct strbuf following = {}, still = {};

	dashboard_page_write(&look, &following);
	look.still = true;
	dashboard_page_write(&look, &still);
	assert_contains(strbuf_text(&following), "http-equiv=\"refresh\"");
	assert_null(strstr(strbuf_text(&still), "http-equiv"));
	assert_contains(strbuf_text(&still), "<a href=\"/\">");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text_is_escaped),
		cmocka_unit_test(test_numbers_are_for_people),
		cmocka_unit_test(test_no_factory),
		cmocka_unit_test(test_an_empty_factory),
		cmocka_unit_test(test_a_factory_at_work),
		cmocka_unit_test(test_foreign_words_do_no_harm),
		cmocka_unit_test(test_large_and_odd_numbers),
		cmocka_unit_test(test_phases_add_up_to_the_start),
		cmocka_unit_test(test_no_container_was_started),
		cmocka_unit_test(test_many_steps_are_as_many_phases_at_most),
		cmocka_unit_test(test_a_traced_start_is_drawn),
		cmocka_unit_test(test_a_page_that_holds_still),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
