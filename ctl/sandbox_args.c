#include "ctl/sandbox_args.h"

#include <getopt.h>

#include "ctl/factory_link.h"

int sandbox_args_parse(const struct ctl_command *command, int argc, char **argv,
		       struct sandbox_args *ret)
{
	struct sandbox_args args = { .socket = factory_default_address() };
	int c;

	optind = 0;
	while ((c = getopt_long(argc, argv, ":h", command->options, NULL)) != -1) {
		if (c == 'h')
			return ctl_help(command);
		if (c == 'j')
			args.json = true;
		else if (c == 'o')
			args.once = true;
		else if (c == 's')
			args.socket = optarg;
		else if (c != 'T')
			return ctl_usage_option(command, c, argv);
		else if (!ctl_parse_seconds(optarg, &args.timeout_s))
			return ctl_usage(command, "'%s' is no number of seconds, 1 to 86400",
					 optarg);
	}
	args.words = argv + optind;
	args.nwords = argc - optind;
	*ret = args;
	return -1;
}

int sandbox_args_get(const struct sandbox_args *args, bool guest, struct sandboxes *ret)
{
	const struct sandboxes_options options = {
		.timeout_ms = args->timeout_s * 1000,
		.guest = guest,
	};
	_cleanup_(error_done) struct error err = {};

	return sandboxes_get(&options, ret, &err) < 0 ? ctl_fail(&err) : CTL_OK;
}

int sandbox_args_find(const struct sandbox_args *args, struct sandboxes *ret_sandboxes,
		      const struct sandbox **ret_sandbox)
{
	_cleanup_(error_done) struct error err = {};
	int code = sandbox_args_get(args, false, ret_sandboxes);

	if (code != CTL_OK)
		return code;
	if (sandboxes_find(ret_sandboxes, args->words[0], ret_sandbox, &err) < 0)
		return ctl_fail(&err);
	if ((*ret_sandbox)->info)
		return CTL_OK;
	ctl_say("sandbox %s: %s", (*ret_sandbox)->id, error_message(&(*ret_sandbox)->error));
	return CTL_FAILED;
}
