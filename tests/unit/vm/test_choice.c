/* Which template serves a claim. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/strings.h"
#include "factory/store/annotations.h"
#include "factory/store/choice.h"

/* One that does not grow. */
#define FIXED(vcpus_, memory_) .size = { vcpus_, memory_ }, .max_size = { vcpus_, memory_ }

static const struct template_offer offers[] = {
	{ "huge", "ready", FIXED(8, 4096), .readiness = 2, .bootable = true },
	{ "small", "ready", FIXED(1, 256), .readiness = 2, .bootable = true },
	{ "wide", "ready", FIXED(4, 512), .readiness = 2, .bootable = true },
	{ "default", "ready", FIXED(2, 512), .readiness = 2, .bootable = true },
	{ "coming", "baking", FIXED(2, 300), .readiness = 1 },
	{ "gone", "absent", FIXED(16, 16384), .readiness = 0 },
};

static struct template_wish wish_of(uint32_t vcpus, uint32_t memory_mib, const char *annotations)
{
	return (struct template_wish){ .size = { vcpus, memory_mib }, .annotations = annotations };
}

static int choose(const struct template_offer *from, size_t count, uint32_t vcpus,
		  uint32_t memory_mib, const char *annotations, struct error *err)
{
	struct template_wish wish = wish_of(vcpus, memory_mib, annotations);

	return template_choose(from, count, &wish, err);
}

static void expect_choice(uint32_t vcpus, uint32_t memory_mib, const char *name)
{
	int best = choose(offers, ARRAY_SIZE(offers), vcpus, memory_mib, NULL, NULL);

	assert_true(best >= 0);
	assert_string_equal(offers[best].name, name);
}

static void test_exact_then_smallest(void **state _unused_)
{
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

static void test_no_wish_is_the_default(void **state _unused_)
{
	expect_choice(0, 0, "default");
	assert_int_equal(choose(offers, 3, 0, 0, NULL, NULL), 0); /* the first */
	assert_int_equal(choose(&offers[4], 2, 0, 0, NULL, NULL), 0);
}

static const struct template_offer growing[] = {
	{ "large", "ready", FIXED(4, 2048), .readiness = 2, .bootable = true },
	{ "seed", "ready", { 1, 128 }, { 4, 1024 }, .readiness = 2, .bootable = true },
	{ "sprout", "ready", { 1, 256 }, { 4, 1024 }, .readiness = 2, .bootable = true },
	{ "exact", "ready", FIXED(2, 512), .readiness = 2, .bootable = true },
};

static void expect_growing(uint32_t vcpus, uint32_t memory_mib, const char *name,
			   enum template_fit fit)
{
	struct template_wish wish = wish_of(vcpus, memory_mib, NULL);
	int best = template_choose(growing, ARRAY_SIZE(growing), &wish, NULL);

	assert_true(best >= 0);
	assert_string_equal(growing[best].name, name);
	assert_int_equal(template_fit(&growing[best], &wish), fit);
}

static void test_exact_then_growing_then_larger(void **state _unused_)
{
	expect_growing(2, 512, "exact", FIT_EXACT);
	expect_growing(0, 256, "sprout", FIT_EXACT);
	expect_growing(3, 512, "sprout", FIT_GROWS); /* has to grow less than "seed" */
	expect_growing(1, 1024, "sprout", FIT_GROWS);
	expect_growing(1, 1025, "large", FIT_LARGER);
	expect_growing(1, 100, "seed", FIT_LARGER);
}

static void test_annotations(void **state _unused_)
{
	static const struct template_offer kinds[] = {
		{ "default", "ready", FIXED(2, 512), .annotations = "", .readiness = 2 },
		{ "gpu", "ready", FIXED(2, 512), .annotations = "gpu,zone=a", .readiness = 2 },
	};
	_cleanup_(error_done) struct error err = {};

	assert_int_equal(choose(kinds, 2, 0, 0, "", NULL), 0);
	assert_int_equal(choose(kinds, 2, 0, 0, "gpu", NULL), 1);
	assert_int_equal(choose(kinds, 2, 2, 512, "zone=a,gpu", NULL), 1);
	assert_int_equal(choose(kinds, 2, 0, 0, "zone", &err), -EBUSY);
	assert_string_equal(error_message(&err),
			    "no template fits: zone wanted; there are default (2 vCPUs, 512 MiB, "
			    "ready), gpu (2 vCPUs, 512 MiB, gpu,zone=a, ready)");
	assert_int_equal(annotations_check("", NULL), 0);
	assert_int_equal(annotations_check("a,zone=b/c", NULL), 0);
	assert_int_equal(annotations_check(",a", NULL), -EINVAL);
	assert_int_equal(annotations_check("a b", NULL), -EINVAL);
}

static void test_none_fits(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};

	assert_int_equal(choose(&offers[3], 3, 4, 600, NULL, &err), -EBUSY);
	assert_string_equal(error_message(&err),
			    "no template fits: 4 vCPUs and 600 MiB wanted; there are default (2 "
			    "vCPUs, 512 MiB, ready), coming (2 vCPUs, 300 MiB, baking), gone (16 "
			    "vCPUs, 16384 MiB, absent)");
	assert_int_equal(choose(&offers[5], 1, 0, 0, NULL, &err), -EBUSY);
	assert_string_equal(error_message(&err),
			    "no template fits: any wanted; there is gone (16 vCPUs, 16384 MiB, "
			    "absent)");
	assert_int_equal(choose(&growing[1], 1, 5, 0, NULL, &err), -EBUSY);
	assert_string_equal(error_message(&err),
			    "no template fits: 5 vCPUs wanted; there is seed (1 to 4 vCPUs, 128 to "
			    "1024 MiB, ready)");
}

static void test_boots_from_the_nearest(void **state _unused_)
{
	struct template_wish wish = wish_of(2, 600, NULL);

	assert_string_equal(offers[template_choose_boot(offers, 6, &wish)].name, "default");
	wish = wish_of(4, 600, NULL);
	assert_string_equal(offers[template_choose_boot(offers, 6, &wish)].name, "wide");
	wish = wish_of(32, 0, NULL);
	assert_string_equal(offers[template_choose_boot(offers, 6, &wish)].name, "huge");
	wish = wish_of(0, 9000, NULL);
	assert_string_equal(offers[template_choose_boot(offers, 6, &wish)].name, "huge");
	assert_int_equal(template_choose_boot(&offers[4], 2, &wish), -ENOENT);
	wish = wish_of(0, 9000, "gpu");
	assert_int_equal(template_choose_boot(offers, 6, &wish), -ENOENT);
}

static void test_images(void **state _unused_)
{
	static char a[] = "tools", b[] = "models";
	struct carried_image images[] = { { .name = a }, { .name = b } };
	const struct carried one = { images, 1 }, two = { images, 2 };
	const struct template_offer carrying[] = {
		{ "default", "ready", FIXED(1, 256), .readiness = 2, .bootable = true },
		{ "one", "ready", FIXED(1, 256), .images = &one, .readiness = 2, .bootable = true },
		{ "two", "baking", FIXED(1, 512), .images = &two, .readiness = 1 },
	};
	char *names[] = { a, b };
	struct template_wish wish = { .images = { names, 1 } };
	_cleanup_(error_done) struct error err = {};

	assert_int_equal(template_choose(carrying, 3, &wish, NULL), 1);
	assert_int_equal(template_choose_boot(carrying, 3, &wish), 1);
	assert_int_equal(template_fit(&carrying[0], &wish), FIT_NONE);
	wish.images.count = 2;
	assert_int_equal(template_choose(carrying, 3, &wish, NULL), 2);
	assert_int_equal(template_choose_boot(carrying, 3, &wish), -ENOENT);
	assert_int_equal(template_choose(carrying, 2, &wish, &err), -EBUSY);
	assert_string_equal(
		error_message(&err),
		"no template fits: the images tools, models wanted; there are default "
		"(1 vCPUs, 256 MiB, ready), one (1 vCPUs, 256 MiB, image tools, ready)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exact_then_smallest),
		cmocka_unit_test(test_no_wish_is_the_default),
		cmocka_unit_test(test_exact_then_growing_then_larger),
		cmocka_unit_test(test_annotations),
		cmocka_unit_test(test_none_fits),
		cmocka_unit_test(test_boots_from_the_nearest),
		cmocka_unit_test(test_images),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
