/* What the commands of kiln-ctl share: their table entry, exit codes, and how they speak.
 *
 * Results go to stdout, everything said to a person about the way there to stderr, each line
 * with the program's name in front. Text that came from elsewhere (a guest's, a shim's, the
 * factory's) is printed by ctl_print(), ctl_say() or as a table, which keep control characters from
 * the terminal.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/error.h"

enum ctl_exit {
	CTL_OK = 0,
	CTL_FAILED = 1, /* the operation */
	CTL_USAGE = 2,  /* the command line */
	CTL_OFF = 3,    /* the factory is off or not running */
	/* Of check, whose answer these are: */
	CTL_CHECK_WITHOUT = 1,
	CTL_CHECK_MEND = 2,
};

struct option;

struct ctl_command {
	const char *name;
	const char *usage;            /* one line or more, each a way to call it */
	const char *summary;          /* one line for the list of commands */
	const char *help;             /* the rest of its manual */
	const struct option *options; /* of getopt_long(3), by which it reads its command line */
	/* What may stand behind its name, one after another, NULL at the end: verbs, names. NULL:
	 * nothing of the kind. */
	const char *(*word)(size_t i);
	bool words_repeat; /* more than one of them may */
	/* argv[0] is the command's name; returns an exit code. */
	int (*run)(int argc, char **argv);
};

extern const struct ctl_command ctl_agent;
extern const struct ctl_command ctl_bug_report;
extern const struct ctl_command ctl_check;
extern const struct ctl_command ctl_completion;
extern const struct ctl_command ctl_direct_volume;
extern const struct ctl_command ctl_env;
extern const struct ctl_command ctl_exec;
extern const struct ctl_command ctl_factory;
extern const struct ctl_command ctl_image;
extern const struct ctl_command ctl_inspect;
extern const struct ctl_command ctl_iptables;
extern const struct ctl_command ctl_list;
extern const struct ctl_command ctl_logs;
extern const struct ctl_command ctl_metrics;
extern const struct ctl_command ctl_policy;
extern const struct ctl_command ctl_top;
extern const struct ctl_command ctl_version;

/* All of them, in the order of the overview; NULL at the end. */
extern const struct ctl_command *const ctl_commands[];

/* fprintf() of text that came from elsewhere. */
void ctl_print(FILE *out, const char *fmt, ...) _printf_(2, 3);
void ctl_say(const char *fmt, ...) _printf_(1, 2);

/* Says the error; returns CTL_FAILED. */
int ctl_fail(const struct error *err);

/* Says what is wrong with the command line and how to learn more; returns CTL_USAGE. */
int ctl_usage(const struct ctl_command *command, const char *fmt, ...) _printf_(2, 3);

/* The same for getopt_long's '?' or ':' (the option string starts with ':'). */
int ctl_usage_option(const struct ctl_command *command, int result, char **argv);

/* The command's manual on stdout; returns CTL_OK. */
int ctl_help(const struct ctl_command *command);

/* Reads a --timeout: whole seconds, 1 to 86400. False: not that. */
bool ctl_parse_seconds(const char *text, unsigned *ret_seconds);
