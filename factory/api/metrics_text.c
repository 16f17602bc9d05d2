#include "factory/api/metrics_text.h"

#include <inttypes.h>

/* A label's value: what the format escapes, and nothing that is not printable ASCII. */
static void add_escaped(struct strbuf *b, const char *value)
{
	for (const char *c = value; *c; c++) {
		if (*c == '\\' || *c == '"')
			strbuf_addf(b, "\\%c", *c);
		else if (*c == '\n')
			strbuf_adds(b, "\\n");
		else
			strbuf_addf(b, "%c", *c < 0x20 || *c > 0x7e ? '?' : *c);
	}
}

static void add_labels(struct strbuf *b, const char *const *labels, const char *edge)
{
	const char *before = "{";

	for (; labels[0]; labels += 2) {
		strbuf_addf(b, "%s%s=\"", before, labels[0]);
		add_escaped(b, labels[1]);
		strbuf_adds(b, "\"");
		before = ",";
	}
	if (edge) {
		strbuf_addf(b, "%sle=\"%s\"", before, edge);
		before = ",";
	}
	if (*before == ',')
		strbuf_adds(b, "}");
}

void text_family(struct strbuf *b, const char *name, const char *type, const char *help)
{
	strbuf_addf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void text_sample(struct strbuf *b, const char *name, const char *const *labels, uint64_t value)
{
	strbuf_adds(b, name);
	add_labels(b, labels, NULL);
	strbuf_addf(b, " %" PRIu64 "\n", value);
}

/* ---------------------------------------------------------------- counters */

static void add_count(struct strbuf *b, const struct metrics_set *set, enum counter counter,
		      const char *reason, uint64_t value)
{
	const struct counter_family *family = counter_family(counter);
	const char *const labels[] = {
		"template",
		set->template_name,
		"reason",
		reason,
		family->result ? "result" : NULL,
		family->result,
		NULL,
	};

	text_sample(b, family->name, family->of_factory ? labels + 2 : labels, value);
}

/* The factory's set is the one without a template's name. */
static bool is_of(const struct metrics_set *set, bool of_factory)
{
	return (*set->template_name == '\0') == of_factory;
}

/* Each counter of a template is there from the beginning, so that its first increase shows. */
static void add_counter(struct strbuf *b, const struct metrics_set *set, enum counter counter)
{
	bool plain = !is_of(set, counter_family(counter)->of_factory);

	for (size_t i = 0; i < set->metrics->used; i++) {
		const struct count *count = &set->metrics->counts[i];
		if (count->counter != counter)
			continue;
		add_count(b, set, counter, count->reason, count->value);
		plain = plain || *count->reason == '\0';
	}
	if (!plain)
		add_count(b, set, counter, "", 0);
}

static bool same_family(enum counter a, enum counter b)
{
	return str_equal(counter_family(a)->name, counter_family(b)->name);
}

static bool begins_family(enum counter counter)
{
	for (enum counter c = 0; c < counter; c++) {
		if (same_family(c, counter))
			return false;
	}
	return true;
}

static void add_family(struct strbuf *b, const struct metrics_set *sets, size_t nsets,
		       enum counter first)
{
	const struct counter_family *family = counter_family(first);

	text_family(b, family->name, "counter", family->help);
	for (enum counter counter = first; counter < COUNTER_MAX_; counter++) {
		if (!same_family(counter, first))
			continue;
		for (size_t i = 0; i < nsets; i++)
			add_counter(b, &sets[i], counter);
	}
}

void text_counters(struct strbuf *b, const struct metrics_set *sets, size_t nsets)
{
	for (enum counter counter = 0; counter < COUNTER_MAX_; counter++) {
		if (begins_family(counter))
			add_family(b, sets, nsets, counter);
	}
}

/* ---------------------------------------------------------------- histograms */

/* Those of one name follow each other. */
static const struct {
	const char *name, *help, *result;
	bool of_factory;
} families[] = {
#define CLAIM "kiln_claim_seconds", "Claims that got a machine, from request to reply"
	[HISTOGRAM_CLAIM_POOLED] = { CLAIM, "pooled" },
	[HISTOGRAM_CLAIM_CLONED] = { CLAIM, "cloned" },
	[HISTOGRAM_CLAIM_BOOTED] = { CLAIM, "booted" },
#undef CLAIM
	[HISTOGRAM_CLONE] = { "kiln_clone_seconds", "Clones, from spawning to parked", NULL },
	[HISTOGRAM_WARM] = { "kiln_warm_seconds",
			     "Clones' warming, from the first call to the agent to parked", NULL },
	[HISTOGRAM_BAKE] = { "kiln_bake_seconds", "Bakes, from hashing to a stored template",
			     NULL },
	[HISTOGRAM_IMAGE_MAKE] = { "kiln_image_make_seconds",
				   "Images of containers' layers, from the layers to a stored image",
				   NULL, .of_factory = true },
};
_Static_assert(ARRAY_SIZE(families) == HISTOGRAM_MAX_, "every histogram has a row");

static void add_buckets(struct strbuf *b, const char *name, const char *const *labels,
			const struct latency *latency)
{
	uint64_t below = 0;
	char edge[32];

	for (size_t i = 0; i < METRICS_BUCKETS; i++) {
		below += latency->buckets[i];
		snprintf(edge, sizeof(edge), "%g", (double)metrics_bucket_us[i] / 1e6);
		strbuf_addf(b, "%s_bucket", name);
		add_labels(b, labels, edge);
		strbuf_addf(b, " %" PRIu64 "\n", below);
	}
	strbuf_addf(b, "%s_bucket", name);
	add_labels(b, labels, "+Inf");
	strbuf_addf(b, " %" PRIu64 "\n", latency->count);
}

static void add_histogram(struct strbuf *b, const struct metrics_set *set, enum histogram histogram)
{
	const struct latency *latency = &set->metrics->latencies[histogram];
	const char *name = families[histogram].name, *result = families[histogram].result;
	const char *const all_labels[] = {
		"template", set->template_name, result ? "result" : NULL, result, NULL,
	};
	const char *const *labels = families[histogram].of_factory ? all_labels + 2 : all_labels;

	add_buckets(b, name, labels, latency);
	strbuf_addf(b, "%s_sum", name);
	add_labels(b, labels, NULL);
	strbuf_addf(b, " %.9f\n", (double)latency->sum_ns / 1e9);
	strbuf_addf(b, "%s_count", name);
	add_labels(b, labels, NULL);
	strbuf_addf(b, " %" PRIu64 "\n", latency->count);
}

void text_histograms(struct strbuf *b, const struct metrics_set *sets, size_t nsets)
{
	for (enum histogram h = 0; h < HISTOGRAM_MAX_; h++) {
		if (h == 0 || !str_equal(families[h].name, families[h - 1].name))
			text_family(b, families[h].name, "histogram", families[h].help);
		for (size_t i = 0; i < nsets; i++) {
			if (is_of(&sets[i], families[h].of_factory))
				add_histogram(b, &sets[i], h);
		}
	}
}
