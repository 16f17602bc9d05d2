/* The object "pool" of a template's definition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* After what it needs. */
#include <cmocka.h>

#include "base/strings.h"
#include "factory/store/pool_policy.h"

static int read_text(const char *text, struct pool_policy *policy, struct error *err)
{
	json_t *object = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;

	int r = pool_policy_read(object, 3, "pool in x.json", policy, err);
	json_decref(object);
	return r;
}

static void without_an_object_the_size_is_the_target(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};
	struct pool_policy policy = {};

	assert_int_equal(read_text(NULL, &policy, &err), 0);
	assert_false(policy.automatic);
	assert_int_equal(policy.target, 3);
	assert_int_equal(policy.probe_s, 30);
	assert_int_equal(policy.max_age_s, 0);
	assert_int_equal(policy.spares, 0);
}

static void all_keys_are_read(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};
	struct pool_policy policy = {};

	assert_int_equal(
		read_text("{\"target\": \"auto\", \"min\": 2, \"max\": 20, \"low_water\": 4,"
			  " \"burst\": 5, \"max_age_s\": 600, \"probe_s\": 0, \"spares\": 3}",
			  &policy, &err),
		0);
	assert_true(policy.automatic);
	assert_int_equal(policy.min, 2);
	assert_int_equal(policy.max, 20);
	assert_int_equal(policy.low_water, 4);
	assert_int_equal(policy.burst, 5);
	assert_int_equal(policy.max_age_s, 600);
	assert_int_equal(policy.probe_s, 0);
	assert_int_equal(policy.spares, 3);
	policy = (struct pool_policy){};
	assert_int_equal(read_text("{\"target\": 7}", &policy, &err), 0);
	assert_int_equal(policy.target, 7);
}

static void wrong_ones_are_refused_by_name(void **state _unused_)
{
	static const struct {
		const char *text, *word;
	} cases[] = {
		{ "[]", "object" },
		{ "{\"target\": \"many\"}", "target" },
		{ "{\"target\": -1}", "target" },
		{ "{\"target\": 1001}", "target" },
		{ "{\"target\": 1.5}", "target" },
		{ "{\"target\": null}", "target" },
		{ "{\"burst\": 65}", "burst" },
		{ "{\"spares\": 17}", "spares" },
		{ "{\"water\": 1}", "water" },
		{ "{\"target\": \"auto\", \"min\": 9, \"max\": 8}", "min" },
		{ "{\"target\": 3, \"low_water\": 4}", "low_water" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(error_done) struct error err = {};
		struct pool_policy policy = { .target = 77 };
		assert_int_equal(read_text(cases[i].text, &policy, &err), -EINVAL);
		assert_non_null(strstr(error_message(&err), cases[i].word));
		assert_non_null(strstr(error_message(&err), "x.json"));
		assert_int_equal(policy.target, 77);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_an_object_the_size_is_the_target),
		cmocka_unit_test(all_keys_are_read),
		cmocka_unit_test(wrong_ones_are_refused_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
