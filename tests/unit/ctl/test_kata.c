/* The words of kata-ctl and kata-runtime. */
#include "tests/unit/ctl/harness.h"

#include "ctl/kata.h"
#include "tests/unit/folder.h"

static void test_names(void **state _unused_)
{
	assert_true(kata_is_name("kata-ctl"));
	assert_true(kata_is_name("kata-runtime"));
	assert_false(kata_is_name("kiln-ctl"));
	assert_false(kata_is_name("kata-monitor"));
}

static void test_words(void **state _unused_)
{
	assert_string_equal(kata_command("kata-check"), "check");
	assert_string_equal(kata_command("kata-env"), "env");
	assert_string_equal(kata_command("factory"), "factory");
	assert_non_null(kata_instead("monitor"));
	assert_null(kata_instead("nonsense"));
}

/* A command that we have is not said to be missing. */
static void test_no_word_twice(void **state _unused_)
{
	for (size_t i = 0; ctl_commands[i]; i++)
		assert_null(kata_instead(ctl_commands[i]->name));
}

/* With options as kata-runtime has it, and without as kata-ctl. */
static void test_direct_volume(void **state _unused_)
{
	static const char info[] = "{\"device\": \"/dev/x\"}";
	struct outcome size = RUN(&ctl_direct_volume, "resize", "/v", "many", "--run-dir",
				  test_folder);
	assert_int_equal(size.code, CTL_USAGE);
	assert_contains(size.err, "size 'many' is no number");
	outcome_done(&size);

	struct outcome more = RUN(&ctl_direct_volume, "stats", "/v", "word", "--run-dir",
				  test_folder);
	assert_int_equal(more.code, CTL_USAGE);
	assert_contains(more.err, "'word' is one word too many");
	outcome_done(&more);

	struct outcome none = RUN(&ctl_direct_volume, "remove");
	assert_int_equal(none.code, CTL_USAGE);
	outcome_done(&none);

	/* The same sentence by both ways, of a description that is refused. */
	struct outcome words = RUN(&ctl_direct_volume, "add", "/v", info, "--run-dir", test_folder);
	struct outcome options = RUN(&ctl_direct_volume, "add", "--volume-path", "/v",
				     "--mount-info", info, "--run-dir", test_folder);
	assert_int_equal(words.code, CTL_FAILED);
	assert_int_equal(options.code, CTL_FAILED);
	assert_string_equal(words.err, options.err);
	assert_true(strlen(words.err) > 0);
	outcome_done(&words);
	outcome_done(&options);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_no_word_twice),
		cmocka_unit_test_setup_teardown(test_direct_volume, folder_setup, folder_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
