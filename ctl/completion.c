/* kiln-ctl completion. */
#include <getopt.h>
#include <stdio.h>

#include "base/strings.h"
#include "ctl/completion_script.h"
#include "ctl/ctl.h"

static const struct option option_table[] = {
	{ "help", no_argument, NULL, 'h' },
	{},
};

static const struct {
	const char *name;
	void (*print)(const struct ctl_command *const *commands, FILE *out);
} shells[] = {
	{ "bash", completion_bash },
	{ "zsh", completion_zsh },
};

static int completion_run(int argc, char **argv)
{
	int c;

	optind = 0;
	while ((c = getopt_long(argc, argv, ":h", option_table, NULL)) != -1)
		return c == 'h' ? ctl_help(&ctl_completion)
				: ctl_usage_option(&ctl_completion, c, argv);
	if (argc - optind != 1)
		return ctl_usage(&ctl_completion, "bash or zsh?");
	for (size_t i = 0; i < ARRAY_SIZE(shells); i++) {
		if (!str_equal(shells[i].name, argv[optind]))
			continue;
		shells[i].print(ctl_commands, stdout);
		return CTL_OK;
	}
	return ctl_usage(&ctl_completion, "there is none for '%s'", argv[optind]);
}

static const char *word(size_t i)
{
	return i < ARRAY_SIZE(shells) ? shells[i].name : NULL;
}

const struct ctl_command ctl_completion = {
	.name = "completion",
	.usage = "kiln-ctl completion bash|zsh",
	.summary = "a script by which a shell completes this program's words",
	.help = "Prints the script, made of the commands' own tables:\n"
		"  source <(kiln-ctl completion bash)\n"
		"  source <(kiln-ctl completion zsh)     after compinit\n"
		"`make install` puts both where the shells look for them.\n",
	.options = option_table,
	.word = word,
	.run = completion_run,
};
