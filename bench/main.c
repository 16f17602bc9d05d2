/* kiln-bench: the table of commands. */

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/strings.h"
#include "bench/command.h"
#include "bench/empty_shim.h"

static const struct command {
	const char *name;
	const char *arguments;
	const char *summary;
	int (*run)(int argc, char **argv);
	int least, most; /* arguments */
} commands[] = {
	{ "run", "[OPTION...] [SCENARIO...]", "measure; the default", command_run, 0, 1000 },
	{ "compare", "OLD NEW", "what changed beyond noise; status 1: something is worse",
	  command_compare, 2, 2 },
	{ "report", "RESULT", "a result as text", command_report, 1, 1 },
	{ "check", "RESULT BASELINE", "the targets, and the ratios of a baseline; status 1: worse",
	  command_check, 2, 2 },
	{ "baseline", "RESULT", "a baseline made of a result", command_baseline, 1, 1 },
	{ "plot", "RESULT FOLDER", "SVG and PNG, by gnuplot", command_plot, 2, 2 },
	{ "trace", "FOLDER [ID [FOLDER]]",
	  "a start's steps from its traces (ID -: a typical one), drawn into the second folder",
	  command_trace, 1, 3 },
};

static void print_help(void)
{
	puts("Usage: kiln-bench COMMAND ARGUMENT...\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		printf("  %-9s%-26s %s\n", commands[i].name, commands[i].arguments,
		       commands[i].summary);
	putchar('\n');
	command_run_help();
	puts("Exit status: 0 done, 1 failed or worse, 2 wrong usage.\n"
	     "bench/README.md defines every figure and the JSON.");
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (str_equal(commands[i].name, name))
			return &commands[i];
	}
	return NULL;
}

static int run_command(const struct command *command, int argc, char **argv)
{
	if (argc - 1 < command->least || argc - 1 > command->most) {
		fprintf(stderr, "usage: " PROGRAM " %s %s\n", command->name, command->arguments);
		return STATUS_USAGE;
	}
	return command->run(argc, argv);
}

int command_fail(int status, const struct error *err)
{
	fprintf(stderr, PROGRAM ": %s\n", error_message(err));
	return status;
}

int main(int argc, char **argv)
{
	const char *slash = strrchr(argv[0], '/');
	const char *first = argc > 1 ? argv[1] : "";

	if (str_equal(slash ? slash + 1 : argv[0], EMPTY_SHIM))
		return empty_shim_main(argc, argv);
	umask(0022); /* a machine's VMM, another user, reads what is made for it */
	log_init(PROGRAM, STDERR_FILENO, LOG_LEVEL_WARNING, LOG_FORMAT_TEXT);
	if (str_equal(first, "--help") || str_equal(first, "-h") || str_equal(first, "help")) {
		print_help();
		return 0;
	}
	if (str_equal(first, "--version") || str_equal(first, "-V")) {
		puts(PROGRAM " " KILN_VERSION);
		return 0;
	}
	const struct command *command = find_command(first);
	if (command)
		return run_command(command, argc - 1, argv + 1);
	return command_run(argc, argv);
}
