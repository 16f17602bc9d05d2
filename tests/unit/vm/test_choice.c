/* Which template serves a claim that names none. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/strings.h"
#include "factory/vm/choice.h"

static const struct template_offer offers[] = {
	{ .name = "huge", .state = "ready", .vcpus = 8, .memory_mib = 4096, .readiness = 2 },
	{ .name = "small", .state = "ready", .vcpus = 1, .memory_mib = 256, .readiness = 2 },
	{ .name = "wide", .state = "ready", .vcpus = 4, .memory_mib = 512, .readiness = 2 },
	{ .name = "default", .state = "ready", .vcpus = 2, .memory_mib = 512, .readiness = 2 },
	{ .name = "coming", .state = "baking", .vcpus = 2, .memory_mib = 300, .readiness = 1 },
	{ .name = "gone", .state = "absent", .vcpus = 16, .memory_mib = 16384, .readiness = 0 },
};

static void expect_choice(uint32_t vcpus, uint32_t memory_mib, const char *name)
{
	int best = template_choose(offers, ARRAY_SIZE(offers), vcpus, memory_mib, NULL);

	assert_true(best >= 0);
	assert_string_equal(offers[best].name, name);
}

static void test_exact_then_smallest(void **state)
{
	(void)state;
	expect_choice(1, 256, "small");
	expect_choice(2, 512, "default");
	expect_choice(4, 512, "wide");
	expect_choice(8, 0, "huge");
	expect_choice(0, 512, "default"); /* both are exact, with fewer vCPUs */
	expect_choice(3, 400, "wide");
	expect_choice(1, 300, "default"); /* as much memory as "wide", fewer vCPUs */
	expect_choice(2, 300, "default"); /* "coming" is exact, but what is ready serves sooner */
	expect_choice(5, 513, "huge");
}

static void test_no_wish_is_the_default(void **state)
{
	(void)state;
	expect_choice(0, 0, "default");
	assert_int_equal(template_choose(offers, 3, 0, 0, NULL), 0); /* the first */
	assert_int_equal(template_choose(&offers[4], 2, 0, 0, NULL), 0);
}

static void test_none_fits(void **state)
{
	_cleanup_(error_done) struct error err = {};

	(void)state;
	assert_int_equal(template_choose(&offers[3], 3, 4, 600, &err), -EBUSY);
	assert_string_equal(error_message(&err),
			    "no template fits: 4 vCPUs and 600 MiB wanted; there are default (2 "
			    "vCPUs, 512 MiB, ready), coming (2 vCPUs, 300 MiB, baking), gone (16 "
			    "vCPUs, 16384 MiB, absent)");
	assert_int_equal(template_choose(&offers[5], 1, 0, 0, &err), -EBUSY);
	assert_string_equal(error_message(&err),
			    "no template fits: any wanted; there is gone (16 vCPUs, 16384 MiB, "
			    "absent)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exact_then_smallest),
		cmocka_unit_test(test_no_wish_is_the_default),
		cmocka_unit_test(test_none_fits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
