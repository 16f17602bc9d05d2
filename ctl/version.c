/* kiln-ctl version. */
#include <getopt.h>
#include <stdio.h>

#include "ctl/ctl.h"

static const struct option option_table[] = {
	{ "help", no_argument, NULL, 'h' },
	{ "json", no_argument, NULL, 'j' },
	{},
};

static int version_run(int argc, char **argv)
{
	bool json = false;
	int c;

	optind = 0;
	while ((c = getopt_long(argc, argv, ":h", option_table, NULL)) != -1) {
		if (c == 'h')
			return ctl_help(&ctl_version);
		if (c != 'j')
			return ctl_usage_option(&ctl_version, c, argv);
		json = true;
	}
	if (optind < argc)
		return ctl_usage(&ctl_version, "'%s' is one word too many", argv[optind]);
	printf(json ? "{\"version\": \"%s\"}\n" : "kiln-ctl %s\n", KILN_VERSION);
	return CTL_OK;
}

const struct ctl_command ctl_version = {
	.name = "version",
	.usage = "kiln-ctl version [--json]",
	.summary = "print the version of this program",
	.help = "The version of a running factory is in 'kiln-ctl factory status', that of a\n"
		"guest's agent in 'kiln-ctl agent Version'.\n",
	.options = option_table,
	.run = version_run,
};
