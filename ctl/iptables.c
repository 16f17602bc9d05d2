/* kiln-ctl iptables get SANDBOX, iptables set SANDBOX FILE. */
#include <getopt.h>
#include <stdio.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"
#include "ctl/ctl.h"
#include "ctl/sandbox_args.h"
#include "ctl/sandbox_call.h"

enum { RULES_MAX = 1 << 20, GUEST_TIMEOUT_S = 10 };

static const struct option option_table[] = {
	{ "help", no_argument, NULL, 'h' },
	{ "sandbox-id", required_argument, NULL, 'i' },
	{ "timeout", required_argument, NULL, 'T' },
	{ "v6", no_argument, NULL, '6' },
	{},
};

struct iptables_args {
	bool set;
	bool v6;
	char *sandbox;    /* borrowed */
	const char *file; /* borrowed; of set */
	unsigned timeout_s;
};

/* -1: go on; else the exit code. */
static int parse_words(int argc, char **argv, struct iptables_args *args)
{
	const char *verb = optind < argc ? argv[optind++] : NULL;

	args->set = str_equal(verb, "set");
	if (!args->set && !str_equal(verb, "get"))
		return ctl_usage(&ctl_iptables, "get or set?");
	if (!args->sandbox && optind < argc)
		args->sandbox = argv[optind++];
	if (args->set && optind < argc)
		args->file = argv[optind++];
	if (!args->sandbox || (args->set && !args->file))
		return ctl_usage(&ctl_iptables, "%s",
				 args->set ? "set wants a sandbox and a file" : "which sandbox?");
	if (optind < argc)
		return ctl_usage(&ctl_iptables, "'%s' is one word too many", argv[optind]);
	return -1;
}

static int parse(int argc, char **argv, struct iptables_args *args)
{
	int c;

	optind = 0;
	while ((c = getopt_long(argc, argv, ":h", option_table, NULL)) != -1) {
		if (c == 'h')
			return ctl_help(&ctl_iptables);
		if (c == 'i')
			args->sandbox = optarg;
		else if (c == '6')
			args->v6 = true;
		else if (c != 'T')
			return ctl_usage_option(&ctl_iptables, c, argv);
		else if (!ctl_parse_seconds(optarg, &args->timeout_s))
			return ctl_usage(&ctl_iptables, "--timeout wants seconds, 1 to 86400");
	}
	return parse_words(argc, argv, args);
}

static int ask(const struct sandbox *sandbox, const struct iptables_args *args, char *rules,
	       size_t len, struct error *err)
{
	Grpc__GetIPTablesRequest get = GRPC__GET_IPTABLES_REQUEST__INIT;
	Grpc__SetIPTablesRequest set = GRPC__SET_IPTABLES_REQUEST__INIT;
	unsigned timeout_s = args->timeout_s ? args->timeout_s : GUEST_TIMEOUT_S;
	ProtobufCMessage *response;

	get.is_ipv6 = set.is_ipv6 = args->v6;
	set.data.data = (uint8_t *)rules;
	set.data.len = len;
	int r = sandbox_call(sandbox, args->set ? "SetIPTables" : "GetIPTables",
			     args->set ? &set.base : &get.base, timeout_s * 1000, &response, err);
	if (r < 0)
		return r;
	if (!args->set) {
		const ProtobufCBinaryData *data = &((Grpc__GetIPTablesResponse *)response)->data;
		_cleanup_free_ char *text = xstrndup((const char *)data->data, data->len);
		ctl_print(stdout, "%s", text);
	}
	protobuf_c_message_free_unpacked(response, NULL);
	return 0;
}

static int iptables_run(int argc, char **argv)
{
	_cleanup_(sandboxes_done) struct sandboxes sandboxes = {};
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *rules = NULL;
	struct iptables_args args = {};
	const struct sandbox *sandbox;
	size_t len = 0;
	int code = parse(argc, argv, &args);

	if (code >= 0)
		return code;
	if (args.set && file_read(args.file, RULES_MAX, &rules, &len, &err) < 0)
		return ctl_fail(&err);

	const struct sandbox_args find = { .words = &args.sandbox, .nwords = 1 };

	code = sandbox_args_find(&find, &sandboxes, &sandbox);
	if (code != CTL_OK)
		return code;
	return ask(sandbox, &args, rules, len, &err) < 0 ? ctl_fail(&err) : CTL_OK;
}

static const char *word(size_t i)
{
	static const char *const verbs[] = { "get", "set" };

	return i < ARRAY_SIZE(verbs) ? verbs[i] : NULL;
}

const struct ctl_command ctl_iptables = {
	.name = "iptables",
	.usage = "kiln-ctl iptables get SANDBOX [--v6] [--timeout SECONDS]\n"
		 "       kiln-ctl iptables set SANDBOX FILE [--v6] [--timeout SECONDS]\n"
		 "       kiln-ctl iptables get | set --sandbox-id SANDBOX [FILE]",
	.summary = "the packet filter of a sandbox's guest",
	.help = "Asks the guest's agent for the rules of its packet filter, as iptables-save prints\n"
		"them, or gives it those in FILE. Kiln's guest image has no iptables, and its agent says\n"
		"so (exit status 1): a pod's rules are those of its network namespace on the host, which\n"
		"'kiln-ctl inspect' names.\n\n"
		"Options:\n"
		"      --sandbox-id SANDBOX  as kata-runtime has it, instead of the word\n"
		"      --timeout SECONDS     for the guest's answer (default 10)\n"
		"      --v6                  of IPv6\n"
		"  -h, --help                this text\n",
	.options = option_table,
	.word = word,
	.run = iptables_run,
};
