#include "ctl/ctl.h"

#include <getopt.h>
#include <stdint.h>
#include <stdio.h>

#include "base/memory.h"
#include "base/strings.h"

/* A guest must not move the cursor of the terminal that it is read on. */
void ctl_print(FILE *out, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	_cleanup_free_ char *text = xvasprintf(fmt, args);
	va_end(args);
	str_neutralise(text, "\n\t");
	fputs(text, out);
}

void ctl_say(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	_cleanup_free_ char *text = xvasprintf(fmt, args);
	va_end(args);
	ctl_print(stderr, "%s: %s\n", program_invocation_short_name, text);
}

int ctl_fail(const struct error *err)
{
	ctl_say("%s", error_message(err));
	return CTL_FAILED;
}

int ctl_usage(const struct ctl_command *command, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	_cleanup_free_ char *text = xvasprintf(fmt, args);
	va_end(args);
	ctl_say("%s: %s", command->name, text);
	fprintf(stderr, "usage: %s\n", command->usage);
	fprintf(stderr, "'%s help %s' says more.\n", program_invocation_short_name, command->name);
	return CTL_USAGE;
}

int ctl_usage_option(const struct ctl_command *command, int result, char **argv)
{
	const char *option = argv[optind - 1];

	if (result == ':')
		return ctl_usage(command, "%s wants a value", option);
	if (optopt && (option[0] != '-' || option[1] != '-'))
		return ctl_usage(command, "there is no option -%c", optopt);
	return ctl_usage(command, "there is no option %s, or it takes no value", option);
}

int ctl_help(const struct ctl_command *command)
{
	printf("%s: %s\n\nusage: %s\n\n%s", command->name, command->summary, command->usage,
	       command->help);
	return CTL_OK;
}

bool ctl_parse_seconds(const char *text, unsigned *ret_seconds)
{
	uint64_t value;

	if (str_to_u64(text, 1, 86400, &value) < 0)
		return false;
	*ret_seconds = (unsigned)value;
	return true;
}
