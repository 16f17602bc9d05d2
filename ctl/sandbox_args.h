/* The command line of what is asked of sandboxes: words, and the options that all of it has. */
#pragma once

#include "ctl/ctl.h"
#include "ctl/sandboxes.h"

struct sandbox_args {
	const char *socket; /* of the factory, for the templates' names */
	unsigned timeout_s; /* 0: none was given */
	bool json;
	bool once;          /* where the command has it */
	char *const *words; /* borrowed of argv */
	int nwords;
};

/* By the command's own table of options; their letters are those of the fields: j, o, s, T, and h.
 * -1: go on; else the exit code, of --help too. */
int sandbox_args_parse(const struct ctl_command *command, int argc, char **argv,
		       struct sandbox_args *ret);

/* All sandboxes that are there; CTL_OK, or the failure was said. */
int sandbox_args_get(const struct sandbox_args *args, bool guest, struct sandboxes *ret);

/* The one that words[0] names, of those. CTL_OK, or it was said what is wrong: none, several, or
 * one whose shim does not answer. */
int sandbox_args_find(const struct sandbox_args *args, struct sandboxes *ret_sandboxes,
		      const struct sandbox **ret_sandbox);
