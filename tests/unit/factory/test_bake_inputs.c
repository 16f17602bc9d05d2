/* What a bake is made of is what was read, or the bake fails; what was wrongly known is forgotten.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "factory/bake/bake_inputs.h"
#include "tests/unit/factory/inputs_fixture.h"

struct bench {
	struct inputs_fixture f;
	struct bake_inputs inputs;
	struct error err;
	char *template; /* its folder */
	char *kernel, *initrd;
};

static int setup(void **state)
{
	struct bench *bench = xnew(struct bench);

	inputs_setup(&bench->f);
	bench->inputs = (struct bake_inputs){ .definition = bench->f.definition,
					      .host = &bench->f.host,
					      .store = bench->f.store };
	bench->template = path_join(bench->f.dir, "template");
	bench->kernel = path_join(bench->f.dir, "kernel.copy");
	bench->initrd = path_join(bench->f.dir, "initrd.copy");
	assert_int_equal(dir_make(bench->template, 0700, NULL), 0);
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	bake_inputs_done(&bench->inputs);
	inputs_teardown(&bench->f);
	error_done(&bench->err);
	free(bench->template);
	free(bench->kernel);
	free(bench->initrd);
	free(bench);
	return 0;
}

static void read_and_copy(struct bench *bench)
{
	assert_int_equal(bake_inputs_read(&bench->inputs, NULL), 0);
	assert_int_equal(bake_inputs_copy_images(&bench->inputs, bench->template, NULL), 0);
	assert_int_equal(
		bake_inputs_copy_kernel(&bench->inputs, bench->kernel, bench->initrd, NULL), 0);
	/* As an earlier bake left it: these files are too young. */
	assert_int_equal(file_write_atomic(bench->f.digests, "{}", 2, 0644, NULL), 0);
}

static int check(struct bench *bench)
{
	_cleanup_free_ char *image = path_join(bench->template, "image");
	char hex[DIGEST_HEX_SIZE];

	assert_int_equal(digest_file(image, hex, NULL), 0);
	return bake_inputs_check(&bench->inputs, bench->template, hex, &bench->err);
}

static void expect_stale(struct bench *bench, int r, const char *says)
{
	assert_int_equal(r, -ESTALE);
	if (!strstr(error_message(&bench->err), says))
		fail_msg("\"%s\" is not in \"%s\"", says, error_message(&bench->err));
	assert_false(path_exists(bench->f.digests));
}

static void test_nothing_has_changed(void **state)
{
	struct bench *bench = *state;

	read_and_copy(bench);
	assert_int_equal(check(bench), 0);
	assert_true(path_exists(bench->f.digests));
}

static void test_an_input_was_written_to(void **state)
{
	static const char *const names[] = { "vmlinux", "initrd", "xml", "root", "tools" };
	struct bench *bench = *state;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		read_and_copy(bench);
		write_input(&bench->f, names[i], "another one", 0644);
		expect_stale(bench, check(bench), "an input was written to during the bake: ");
		bake_inputs_done(&bench->inputs);
		error_done(&bench->err);
		assert_int_equal(path_remove(bench->template, NULL), 0);
		assert_int_equal(dir_make(bench->template, 0700, NULL), 0);
		assert_int_equal(unlink(bench->kernel) + unlink(bench->initrd), 0);
	}
}

static void falsify(struct bench *bench, const char *name)
{
	_cleanup_free_ char *path = path_join(bench->template, name);

	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(truncate(path, 1), 0);
}

static void test_a_copy_of_an_image_is_another(void **state)
{
	struct bench *bench = *state;

	read_and_copy(bench);
	falsify(bench, "images/0");
	expect_stale(bench, check(bench), "image tools was written to");
}

static void test_the_copy_of_the_root_image_is_another(void **state)
{
	struct bench *bench = *state;

	read_and_copy(bench);
	falsify(bench, "image");
	expect_stale(bench, check(bench), "root image ");
}

/* By a stamp that told a lie. */
static void test_a_wrongly_known_kernel_is_not_booted(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(bake_inputs_read(&bench->inputs, NULL), 0);
	assert_int_equal(file_write_atomic(bench->f.digests, "{}", 2, 0644, NULL), 0);
	memset(bench->inputs.values.values[INPUT_INITRD], 'f', DIGEST_HEX_SIZE - 1);
	expect_stale(
		bench,
		bake_inputs_copy_kernel(&bench->inputs, bench->kernel, bench->initrd, &bench->err),
		"initrd /");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_nothing_has_changed),
		TEST(test_an_input_was_written_to),
		TEST(test_a_copy_of_an_image_is_another),
		TEST(test_the_copy_of_the_root_image_is_another),
		TEST(test_a_wrongly_known_kernel_is_not_booted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
