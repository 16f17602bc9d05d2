/* The table of commands, and what shells are told of it. */
#include "tests/unit/ctl/harness.h"

#include <getopt.h>

static bool tells_of(const struct ctl_command *command, const char *option)
{
	_cleanup_free_ char *text = xasprintf("--%s", option);

	return strstr(command->help, text) || strstr(command->usage, text) ||
	       str_equal(option, "help");
}

/* What getopt_long takes stands in the command's own manual. */
static void test_options_are_told_of(void **state _unused_)
{
	for (size_t i = 0; ctl_commands[i]; i++) {
		assert_non_null(ctl_commands[i]->options);
		for (const struct option *o = ctl_commands[i]->options; o->name; o++)
			if (!tells_of(ctl_commands[i], o->name))
				fail_msg("help of %s says nothing of --%s", ctl_commands[i]->name,
					 o->name);
	}
}

static void check_script(const char *shell)
{
	struct outcome script = RUN(&ctl_completion, shell);

	assert_int_equal(script.code, CTL_OK);
	for (size_t i = 0; ctl_commands[i]; i++) {
		const struct ctl_command *command = ctl_commands[i];
		_cleanup_free_ char *head = xasprintf("\t%s) opt", command->name);
		const char *line = strstr(script.out, head);
		assert_non_null(line);
		_cleanup_free_ char *text = xstrndup(line, strcspn(line, "\n"));
		for (const struct option *o = command->options; o->name; o++) {
			_cleanup_free_ char *option = xasprintf("--%s", o->name);
			assert_contains(text, option);
		}
		const char *word;
		for (size_t n = 0; command->word && (word = command->word(n)); n++)
			assert_contains(text, word);
	}
	outcome_done(&script);
}

static void test_scripts(void **state _unused_)
{
	check_script("bash");
	check_script("zsh");
}

static void test_unknown_shell(void **state _unused_)
{
	struct outcome other = RUN(&ctl_completion, "fish");
	assert_int_equal(other.code, CTL_USAGE);
	assert_string_equal(other.out, "");
	outcome_done(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options_are_told_of),
		cmocka_unit_test(test_scripts),
		cmocka_unit_test(test_unknown_shell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
