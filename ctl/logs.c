/* kiln-ctl logs SANDBOX. */
#include <getopt.h>
#include <stdio.h>

#include "ctl/ctl.h"
#include "ctl/sandbox_args.h"
#include "ctl/sandbox_call.h"

enum { GUEST_TIMEOUT_S = 10 };

static const struct option option_table[] = {
	{ "help", no_argument, NULL, 'h' },
	{ "timeout", required_argument, NULL, 'T' },
	{},
};

static int logs_run(int argc, char **argv)
{
	Grpc__GetDiagnosticDataRequest request = GRPC__GET_DIAGNOSTIC_DATA_REQUEST__INIT;
	_cleanup_(sandboxes_done) struct sandboxes sandboxes = {};
	_cleanup_(error_done) struct error err = {};
	const struct sandbox *sandbox;
	ProtobufCMessage *response;
	struct sandbox_args args;
	int code = sandbox_args_parse(&ctl_logs, argc, argv, &args);

	if (code >= 0)
		return code;
	if (args.nwords != 1)
		return ctl_usage(&ctl_logs, "which sandbox?");
	unsigned timeout_s = args.timeout_s ? args.timeout_s : GUEST_TIMEOUT_S;
	args.timeout_s = 0;
	code = sandbox_args_find(&args, &sandboxes, &sandbox);
	if (code != CTL_OK)
		return code;
	request.log_type = (char *)"kernel";
	if (sandbox_call(sandbox, "GuestLog", &request.base, timeout_s * 1000, &response, &err) < 0)
		return ctl_fail(&err);
	ctl_print(stdout, "%s", ((Grpc__GetDiagnosticDataResponse *)response)->data);
	protobuf_c_message_free_unpacked(response, NULL);
	return CTL_OK;
}

const struct ctl_command ctl_logs = {
	.name = "logs",
	.usage = "kiln-ctl logs SANDBOX [--timeout SECONDS]",
	.summary = "the log of a sandbox's guest",
	.help = "Prints the log of the guest's kernel, its last 64 KiB, as its agent reads it. SANDBOX\n"
		"is its id, or a beginning that no other id has. What containers print is containerd's\n"
		"to show, what the shim says is in containerd's log.\n\n"
		"Options:\n"
		"      --timeout SECONDS for the guest's answer (default 10)\n"
		"  -h, --help            this text\n",
	.options = option_table,
	.run = logs_run,
};
