/* The sentence about what changed, and that every input is part of the id. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "factory/store/template_inputs.h"

#define AAAA "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define BBBB "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define LONG "console=ttyS0 quiet panic=-1 cgroup_no_v1=all swiotlb=noforce noreplace-smp"

struct pair {
	struct template_inputs was, now;
};

static int setup(void **state)
{
	struct pair *pair = xnew(struct pair);

	for (int i = 0; i < TEMPLATE_INPUTS; i++)
		pair->was.values[i] = xstrdup(
			template_input_is_file((enum template_input)i) ? AAAA : "value");
	template_inputs_copy(&pair->was, &pair->now);
	*state = pair;
	return 0;
}

static int teardown(void **state)
{
	struct pair *pair = *state;

	template_inputs_done(&pair->was);
	template_inputs_done(&pair->now);
	free(pair);
	return 0;
}

static void expect_difference(const struct pair *pair, const char *text)
{
	_cleanup_free_ char *difference = template_inputs_difference(&pair->was, &pair->now);

	assert_string_equal(difference, text);
	assert_false(template_inputs_equal(&pair->was, &pair->now));
}

static void test_names(void **state _unused_)
{
	for (int i = 0; i < TEMPLATE_INPUTS; i++) {
		const char *name = template_input_to_string((enum template_input)i);
		assert_int_equal(template_input_from_string(name), i);
	}
}

static void test_nothing_changed(void **state)
{
	const struct pair *pair = *state;

	assert_null(template_inputs_difference(&pair->was, &pair->now));
	assert_true(template_inputs_equal(&pair->was, &pair->now));
}

static void test_files_and_values(void **state)
{
	struct pair *pair = *state;

	replace_string(&pair->now.values[INPUT_KERNEL], BBBB);
	expect_difference(pair, "kernel changed (sha256 aaaaaaaa… -> bbbbbbbb…)");
	replace_string(&pair->was.values[INPUT_VCPUS], "1");
	replace_string(&pair->now.values[INPUT_VCPUS], "2");
	expect_difference(pair, "kernel changed (sha256 aaaaaaaa… -> bbbbbbbb…), "
				"vcpus changed (1 -> 2)");
}

static void test_long_values_by_their_words(void **state)
{
	struct pair *pair = *state;

	replace_string(&pair->was.values[INPUT_KERNEL_PARAMS], LONG);
	replace_string(&pair->now.values[INPUT_KERNEL_PARAMS],
		       "console=ttyS0 panic=-1 cgroup_no_v1=all swiotlb=noforce noreplace-smp "
		       "loglevel=3");
	expect_difference(pair, "kernel_params changed (-quiet +loglevel=3)");
	replace_string(&pair->now.values[INPUT_KERNEL_PARAMS], " " LONG);
	expect_difference(pair, "kernel_params changed (other order)");
}

static struct carried images_of(const char *names, const char *digest)
{
	struct carried images = { .items = xnew_array(struct carried_image, strlen(names)) };

	for (; *names; names++) {
		struct carried_image *image = &images.items[images.count++];
		image->name = xstrndup(names, 1);
		strcpy(image->digest, digest);
	}
	return images;
}

static void test_images(void **state)
{
	struct pair *pair = *state;
	char id[DIGEST_HEX_SIZE], other[DIGEST_HEX_SIZE];

	pair->was.images = images_of("ab", AAAA); /* there were none */
	pair->now.images = images_of("ab", BBBB);
	expect_difference(pair, "image a changed (sha256 aaaaaaaa… -> bbbbbbbb…), "
				"image b changed (sha256 aaaaaaaa… -> bbbbbbbb…)");
	carried_done(&pair->now.images);
	pair->now.images = images_of("ca", AAAA);
	expect_difference(pair, "image b removed, image c added");
	carried_done(&pair->now.images);
	pair->now.images = images_of("ba", AAAA);
	expect_difference(pair, "images changed (other order)");
	template_inputs_id("a", &pair->was, 0, id);
	template_inputs_id("a", &pair->now, 0, other);
	assert_string_not_equal(id, other);
}

static void test_id_is_over_everything(void **state)
{
	struct pair *pair = *state;
	char id[DIGEST_HEX_SIZE], other[DIGEST_HEX_SIZE];

	template_inputs_id("a", &pair->was, 0, id);
	template_inputs_id("a", &pair->now, 0, other);
	assert_string_equal(id, other);
	template_inputs_id("b", &pair->was, 0, other);
	assert_string_not_equal(id, other);
	template_inputs_id("a", &pair->was, 1, other);
	assert_string_not_equal(id, other);
	for (int i = 0; i < TEMPLATE_INPUTS; i++) {
		replace_string(&pair->now.values[i], "other");
		template_inputs_id("a", &pair->now, 0, other);
		assert_string_not_equal(id, other);
		replace_string(&pair->now.values[i], pair->was.values[i]);
	}
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_names),
		TEST(test_nothing_changed),
		TEST(test_files_and_values),
		TEST(test_long_values_by_their_words),
		TEST(test_images),
		TEST(test_id_is_over_everything),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
