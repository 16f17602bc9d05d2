/* Counters, histograms, and how they are written for Prometheus. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
/* After what it needs. */
#include <cmocka.h>

#include "base/memory.h"
#include "factory/api/metrics_text.h"

#define US 1000ull
#define MS (1000 * US)

static int setup(void **state)
{
	*state = xnew(struct metrics);
	return 0;
}

static int teardown(void **state)
{
	metrics_done(*state);
	free(*state);
	return 0;
}

static void names_are_distinct_and_go_both_ways(void **state _unused_)
{
	for (int i = 0; i < COUNTER_MAX_; i++) {
		const char *name = counter_to_string((enum counter)i);
		assert_int_equal(counter_from_string(name), i);
		const struct counter_family *family = counter_family((enum counter)i);
		assert_non_null(strstr(family->name, "kiln_"));
		assert_string_equal(family->name + strlen(family->name) - 6, "_total");
		assert_false(str_empty(family->help));
		for (int j = 0; j < i; j++) {
			const struct counter_family *other = counter_family((enum counter)j);
			if (!str_equal(family->name, other->name))
				continue;
			assert_string_equal(family->help, other->help);
			assert_string_not_equal(family->result, other->result);
		}
	}
	assert_int_equal(counter_from_string("claims"), -EINVAL);
	assert_string_equal(counter_to_string(COUNTER_MAX_), "invalid");
	for (int i = 0; i < HISTOGRAM_MAX_; i++)
		assert_int_equal(histogram_from_string(histogram_to_string((enum histogram)i)), i);
}

static void reasons_are_bounded(void **state)
{
	struct metrics *metrics = *state;
	const unsigned many = 10 * METRICS_COUNTS_MAX;

	for (unsigned i = 0; i < many; i++) {
		_cleanup_free_ char *reason = xasprintf("reason %u", i);
		for (int c = 0; c < COUNTER_MAX_; c++)
			metrics_count(metrics, (enum counter)c, reason);
	}
	assert_true(metrics->used <= METRICS_COUNTS_MAX);
	/* Nothing is lost by it. */
	for (int c = 0; c < COUNTER_MAX_; c++)
		assert_int_equal(metrics_sum(metrics, (enum counter)c), many);
}

static void buckets_have_the_edges_they_say(void **state)
{
	struct metrics *metrics = *state;
	const struct latency *latency = &metrics->latencies[HISTOGRAM_CLONE];

	for (size_t i = 1; i < METRICS_BUCKETS; i++)
		assert_true(metrics_bucket_us[i] > metrics_bucket_us[i - 1]);
	assert_int_equal(metrics_bucket_us[0], 500);
	assert_int_equal(metrics_bucket_us[METRICS_BUCKETS - 1], 60000000);
	for (size_t i = 0; i < METRICS_BUCKETS; i++) {
		metrics_observe(metrics, HISTOGRAM_CLONE, metrics_bucket_us[i] * US);
		assert_int_equal(latency->buckets[i], i == 0 ? 1 : 2);
		metrics_observe(metrics, HISTOGRAM_CLONE, metrics_bucket_us[i] * US + 1);
		assert_int_equal(latency->buckets[i + 1], 1);
	}
	assert_int_equal(latency->count, 2 * METRICS_BUCKETS);
	assert_int_equal(latency->max_ns, 60000 * MS + 1);
}

static void quantiles_are_within_their_bucket(void **state)
{
	struct metrics *metrics = *state;
	const struct latency *latency = &metrics->latencies[HISTOGRAM_WARM];

	assert_int_equal(latency_quantile_us(latency, 0.5), 0);
	metrics_observe(metrics, HISTOGRAM_WARM, 8200 * US);
	assert_in_range(latency_quantile_us(latency, 0.5), 7500, 8200);
	assert_int_equal(latency_quantile_us(latency, 0.99), 8193);
	for (unsigned i = 0; i < 98; i++)
		metrics_observe(metrics, HISTOGRAM_WARM, 12 * MS);
	metrics_observe(metrics, HISTOGRAM_WARM, 90000 * MS);
	assert_in_range(latency_quantile_us(latency, 0.50), 10000, 15000);
	assert_in_range(latency_quantile_us(latency, 0.99), 10000, 15000);
	/* Beyond the last edge there is only the greatest value to go by. */
	assert_int_equal(latency_quantile_us(latency, 1), 90000000);
}

static void sets_are_merged(void **state)
{
	struct metrics *metrics = *state;
	struct metrics other = {};

	metrics_count(metrics, COUNTER_RELEASES, "");
	metrics_count(&other, COUNTER_RELEASES, "");
	metrics_count(&other, COUNTER_CLAIMS_FAILED, "refused");
	metrics_observe(&other, HISTOGRAM_BAKE, 3 * MS);
	metrics_merge(metrics, &other);
	metrics_done(&other);
	assert_int_equal(metrics_sum(metrics, COUNTER_RELEASES), 2);
	assert_int_equal(metrics_sum(metrics, COUNTER_CLAIMS_FAILED), 1);
	assert_int_equal(metrics->latencies[HISTOGRAM_BAKE].sum_ns, 3 * MS);
}

#define assert_line(text, line)                                                                    \
	do {                                                                                       \
		if (!strstr((text), "\n" line "\n"))                                               \
			fail_msg("no line %s in:\n%s", line, (text));                              \
	} while (0)

static void label_values_are_escaped(void **state _unused_)
{
	_cleanup_(strbuf_done) struct strbuf b = {};
	const char *const labels[] = { "a", "x\\y\"z\n", "b", "\t\xff{},=", NULL };

	text_sample(&b, "m", labels, 3);
	assert_string_equal(b.text, "m{a=\"x\\\\y\\\"z\\n\",b=\"??{},=\"} 3\n");
	strbuf_done(&b);
	b = (struct strbuf){};
	text_sample(&b, "m", labels + 4, UINT64_MAX);
	assert_string_equal(b.text, "m 18446744073709551615\n");
}

static void counters_are_text(void **state)
{
	_cleanup_(strbuf_done) struct strbuf b = {};
	struct metrics none = {};
	const struct metrics_set sets[] = { { "", &none }, { "default", *state } };

	metrics_count(*state, COUNTER_CLAIMS_CLONED, "the pool was empty");
	metrics_count(&none, COUNTER_CLAIMS_FAILED, "refused");
	text_counters(&b, sets, ARRAY_SIZE(sets));
	metrics_done(&none);
	assert_line(b.text, "# TYPE kiln_claims_total counter");
	assert_line(b.text, "kiln_claims_total{template=\"default\",reason=\"the pool was empty\","
			    "result=\"cloned\"} 1");
	assert_line(b.text, "kiln_claims_total{template=\"default\",reason=\"\",result=\"pooled\"} "
			    "0");
	assert_line(b.text, "kiln_claims_total{template=\"\",reason=\"refused\",result=\"failed\"} "
			    "1");
	assert_line(b.text, "kiln_releases_total{template=\"default\",reason=\"\"} 0");
	/* A family is begun once. */
	const char *first = strstr(b.text, "# TYPE kiln_claims_total");
	assert_null(strstr(first + 1, "# TYPE kiln_claims_total"));
}

/* What concerns no template has no label of one, and is there from the beginning. */
static void the_factorys_own_are_text(void **state)
{
	_cleanup_(strbuf_done) struct strbuf b = {};
	struct metrics own = {};
	const struct metrics_set sets[] = { { "", &own }, { "default", *state } };

	metrics_count(&own, COUNTER_IMAGES_FAILED, "no space");
	metrics_observe(&own, HISTOGRAM_IMAGE_MAKE, 2 * MS);
	text_counters(&b, sets, ARRAY_SIZE(sets));
	text_histograms(&b, sets, ARRAY_SIZE(sets));
	metrics_done(&own);
	assert_line(b.text, "kiln_image_makes_total{reason=\"\",result=\"made\"} 0");
	assert_line(b.text, "kiln_image_makes_total{reason=\"no space\",result=\"failed\"} 1");
	assert_line(b.text, "kiln_image_make_seconds_count 1");
	assert_line(b.text, "kiln_bake_seconds_count{template=\"default\"} 0");
	assert_null(strstr(b.text, "kiln_image_makes_total{template"));
	assert_null(strstr(b.text, "kiln_image_make_seconds_count{template"));
	assert_null(strstr(b.text, "kiln_bake_seconds_count{template=\"\"}"));
}

static void histograms_are_text(void **state)
{
	_cleanup_(strbuf_done) struct strbuf b = {};
	const struct metrics_set set = { "default", *state };

	metrics_observe(*state, HISTOGRAM_CLAIM_POOLED, 600 * US);
	metrics_observe(*state, HISTOGRAM_CLAIM_POOLED, 70000 * MS);
	text_histograms(&b, &set, 1);
#define CLAIM(suffix, le)                                                                          \
	"kiln_claim_seconds" suffix "{template=\"default\",result=\"pooled\"" le "} "
	assert_line(b.text, "# TYPE kiln_claim_seconds histogram");
	assert_line(b.text, CLAIM("_bucket", ",le=\"0.0005\"") "0");
	assert_line(b.text, CLAIM("_bucket", ",le=\"0.00075\"") "1");
	assert_line(b.text, CLAIM("_bucket", ",le=\"60\"") "1");
	assert_line(b.text, CLAIM("_bucket", ",le=\"+Inf\"") "2");
	assert_line(b.text, CLAIM("_sum", "") "70.000600000");
	assert_line(b.text, CLAIM("_count", "") "2");
	assert_line(b.text, "kiln_bake_seconds_bucket{template=\"default\",le=\"+Inf\"} 0");
}

#define METRICS_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		METRICS_TEST(names_are_distinct_and_go_both_ways),
		METRICS_TEST(reasons_are_bounded),
		METRICS_TEST(buckets_have_the_edges_they_say),
		METRICS_TEST(quantiles_are_within_their_bucket),
		METRICS_TEST(sets_are_merged),
		METRICS_TEST(label_values_are_escaped),
		METRICS_TEST(counters_are_text),
		METRICS_TEST(the_factorys_own_are_text),
		METRICS_TEST(histograms_are_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
