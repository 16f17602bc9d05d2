/* kiln-ctl: the command line. Commands are rows of a table; each has its own file. */
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/strings.h"
#include "base/trace.h"
#include "ctl/ctl.h"
#include "ctl/kata.h"
#include "factory/base/config.h"

/* clang-format off */
static const struct ctl_command *find_command(const char *name)
{
	for (size_t i = 0; ctl_commands[i]; i++)
		if (str_equal(ctl_commands[i]->name, name))
			return ctl_commands[i];
	return NULL;
}

static void print_overview(FILE *out)
{
	fprintf(out, "usage: kiln-ctl COMMAND [ARGUMENTS]\n\nCommands:\n");
	for (size_t i = 0; ctl_commands[i]; i++)
		fprintf(out, "  %-13s %s\n", ctl_commands[i]->name, ctl_commands[i]->summary);
	fprintf(out, "  %-13s %s\n", "help", "the manual of a command");
	fprintf(out, "\n'--version' and '--show-default-config-paths' stand in a command's place.\n");
	fprintf(out, "\nExit codes: 0 done; 1 the operation failed; 2 the command line is wrong;\n"
		     "3 the factory is off or not running. 'check' and 'exec' have their own.\n"
		     "'kiln-ctl help COMMAND' or 'kiln-ctl COMMAND --help' says more.\n");
}

static int unknown_command(const char *name)
{
	const char *instead =
		kata_is_name(program_invocation_short_name) ? kata_instead(name) : NULL;

	if (instead) {
		ctl_say("Kiln has no command '%s': %s (docs/CTL.md)", name, instead);
		return CTL_USAGE;
	}
	ctl_say("there is no command '%s'", name);
	print_overview(stderr);
	return CTL_USAGE;
}

static int run_help(const char *name)
{
	if (!name) {
		print_overview(stdout);
		return CTL_OK;
	}
	const struct ctl_command *command = find_command(name);
	return command ? ctl_help(command) : unknown_command(name);
}

static int run(int argc, char **argv)
{
	if (argc < 2) {
		print_overview(stderr);
		return CTL_USAGE;
	}
	const char *name = argv[1];
	if (str_equal(name, "help") || str_equal(name, "--help") || str_equal(name, "-h"))
		return run_help(argv[2]);
	if (kata_is_name(program_invocation_short_name))
		name = kata_command(name);
	if (str_equal(name, "--show-default-config-paths")) {
		puts(FACTORY_CONFIG_PATH);
		return CTL_OK;
	}
	if (str_equal(name, "--version") || str_equal(name, "-V"))
		name = ctl_version.name;
	const struct ctl_command *command = find_command(name);
	return command ? command->run(argc - 1, argv + 1) : unknown_command(name);
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	umask(0022); /* a machine's VMM, another user, reads what is made for it */
	log_init("kiln-ctl", STDERR_FILENO, LOG_LEVEL_WARNING, LOG_FORMAT_TEXT);
	trace_init("ctl", NULL, NULL);
	int code = run(argc, argv);
	if (fflush(stdout) != 0 && code == CTL_OK) {
		ctl_say("cannot write the result: %s", strerror(errno));
		return CTL_FAILED;
	}
	return code;
}
