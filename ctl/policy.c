/* kiln-ctl policy set SANDBOX FILE. */
#include <getopt.h>
#include <stdio.h>

#include "base/file.h"
#include "base/strings.h"
#include "ctl/ctl.h"
#include "ctl/sandbox_args.h"
#include "ctl/sandbox_call.h"

enum { POLICY_MAX = 1 << 20, GUEST_TIMEOUT_S = 10 };

static const struct option option_table[] = {
	{ "help", no_argument, NULL, 'h' },
	{ "sandbox-id", required_argument, NULL, 'i' },
	{ "timeout", required_argument, NULL, 'T' },
	{},
};

struct policy_args {
	char *sandbox; /* borrowed; NULL: not given */
	const char *file;
	unsigned timeout_s;
};

/* -1: go on; else the exit code. */
static int parse(int argc, char **argv, struct policy_args *args)
{
	int c;

	optind = 0;
	while ((c = getopt_long(argc, argv, ":h", option_table, NULL)) != -1) {
		if (c == 'h')
			return ctl_help(&ctl_policy);
		if (c == 'i')
			args->sandbox = optarg;
		else if (c != 'T')
			return ctl_usage_option(&ctl_policy, c, argv);
		else if (!ctl_parse_seconds(optarg, &args->timeout_s))
			return ctl_usage(&ctl_policy, "--timeout wants seconds, 1 to 86400");
	}
	if (optind == argc || !str_equal(argv[optind++], "set"))
		return ctl_usage(&ctl_policy, "set?");
	if (!args->sandbox && optind < argc)
		args->sandbox = argv[optind++];
	if (optind < argc)
		args->file = argv[optind++];
	if (!args->sandbox || !args->file)
		return ctl_usage(&ctl_policy, "set wants a sandbox and a file");
	if (optind < argc)
		return ctl_usage(&ctl_policy, "'%s' is one word too many", argv[optind]);
	return -1;
}

static int set(const struct policy_args *args, char *policy)
{
	const struct sandbox_args find = { .words = &args->sandbox, .nwords = 1 };
	Grpc__SetPolicyRequest request = GRPC__SET_POLICY_REQUEST__INIT;
	_cleanup_(sandboxes_done) struct sandboxes sandboxes = {};
	_cleanup_(error_done) struct error err = {};
	const struct sandbox *sandbox;
	ProtobufCMessage *response;
	int code = sandbox_args_find(&find, &sandboxes, &sandbox);

	if (code != CTL_OK)
		return code;
	request.policy = policy;
	unsigned timeout_s = args->timeout_s ? args->timeout_s : GUEST_TIMEOUT_S;
	if (sandbox_call(sandbox, "SetPolicy", &request.base, timeout_s * 1000, &response, &err) <
	    0)
		return ctl_fail(&err);
	protobuf_c_message_free_unpacked(response, NULL);
	return CTL_OK;
}

static int policy_run(int argc, char **argv)
{
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *policy = NULL;
	struct policy_args args = {};
	size_t len;
	int code = parse(argc, argv, &args);

	if (code >= 0)
		return code;
	if (file_read(args.file, POLICY_MAX, &policy, &len, &err) < 0)
		return ctl_fail(&err);
	if (strlen(policy) != len) {
		ctl_say("%s is no text", args.file);
		return CTL_FAILED;
	}
	return set(&args, policy);
}

static const char *word(size_t i)
{
	return i == 0 ? "set" : NULL;
}

const struct ctl_command ctl_policy = {
	.name = "policy",
	.usage = "kiln-ctl policy set SANDBOX FILE [--timeout SECONDS]\n"
		 "       kiln-ctl policy set --sandbox-id SANDBOX FILE",
	.summary = "what may be asked of a sandbox's agent",
	.help = "Gives the agent of a running sandbox the policy in FILE, in the JSON of docs/AGENT.md,\n"
		"\"The policy\". What it does not allow is denied from then on, to the shim as well; a\n"
		"policy that does not allow SetPolicy is the last one. One that is wrong is refused as\n"
		"a whole, and so is any where the policy before denies it.\n\n"
		"Options:\n"
		"      --sandbox-id SANDBOX  as kata-runtime has it, instead of the word\n"
		"      --timeout SECONDS     for the guest's answer (default 10)\n"
		"  -h, --help                this text\n",
	.options = option_table,
	.word = word,
	.run = policy_run,
};
