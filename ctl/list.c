/* kiln-ctl list, kiln-ctl inspect SANDBOX. */
#include <getopt.h>
#include <stdio.h>

#include "base/strings.h"
#include "ctl/factory_link.h"
#include "ctl/sandbox_args.h"
#include "ctl/sandbox_show.h"

#define STATUS_TIMEOUT_S 1

static const struct option option_table[] = {
	{ "help", no_argument, NULL, 'h' },
	{ "json", no_argument, NULL, 'j' },
	{ "socket", required_argument, NULL, 's' },
	{ "timeout", required_argument, NULL, 'T' },
	{},
};

/* For the templates' names. Without a factory there are their ids. The caller frees. */
static Kiln__Factory__V1__StatusResponse *factory_status(const char *socket)
{
	Kiln__Factory__V1__StatusRequest request = KILN__FACTORY__V1__STATUS_REQUEST__INIT;
	_cleanup_(factory_link_done) struct factory_link link = {};
	ProtobufCMessage *status = NULL;

	if (factory_link_open(socket, &link, NULL) < 0 ||
	    factory_link_call(&link, "Status", &request.base, STATUS_TIMEOUT_S, &status, NULL) < 0)
		return NULL;
	return (Kiln__Factory__V1__StatusResponse *)status;
}

static void status_free(Kiln__Factory__V1__StatusResponse *status)
{
	if (status)
		kiln__factory__v1__status_response__free_unpacked(status, NULL);
}
DEFINE_CLEANUP(Kiln__Factory__V1__StatusResponse *, status_free)

static void dump(json_t *json)
{
	json_dumpf(json, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
	putchar('\n');
	json_decref(json);
}

static int list_run(int argc, char **argv)
{
	_cleanup_(sandboxes_done) struct sandboxes sandboxes = {};
	struct sandbox_args args;
	int code = sandbox_args_parse(&ctl_list, argc, argv, &args);

	if (code >= 0)
		return code;
	if (args.nwords > 0)
		return ctl_usage(&ctl_list, "'%s' is one word too many", args.words[0]);
	code = sandbox_args_get(&args, false, &sandboxes);
	if (code != CTL_OK)
		return code;
	_cleanup_(status_free_cleanup)
		Kiln__Factory__V1__StatusResponse *status = factory_status(args.socket);
	if (!args.json) {
		sandboxes_print(&sandboxes, status, stdout);
		return CTL_OK;
	}
	json_t *list = json_array();
	for (size_t i = 0; i < sandboxes.count; i++)
		json_array_append_new(list, sandbox_to_json(&sandboxes.items[i], status));
	dump(json_pack("{s:o}", "sandboxes", list));
	return CTL_OK;
}

static int inspect_run(int argc, char **argv)
{
	_cleanup_(sandboxes_done) struct sandboxes sandboxes = {};
	const struct sandbox *sandbox;
	struct sandbox_args args;
	int code = sandbox_args_parse(&ctl_inspect, argc, argv, &args);

	if (code >= 0)
		return code;
	if (args.nwords != 1)
		return ctl_usage(&ctl_inspect, "which sandbox?");
	code = sandbox_args_find(&args, &sandboxes, &sandbox);
	if (code != CTL_OK)
		return code;
	_cleanup_(status_free_cleanup)
		Kiln__Factory__V1__StatusResponse *status = factory_status(args.socket);
	if (args.json)
		dump(sandbox_to_json(sandbox, status));
	else
		sandbox_print(sandbox, status, stdout);
	return CTL_OK;
}

#define OPTIONS                                                                                    \
	"Options:\n"                                                                               \
	"      --json            JSON instead of text\n"                                           \
	"      --socket PATH     of the factory, which names the templates; default\n"             \
	"                        $KILN_FACTORY or " FACTORY_SOCKET "\n"                            \
	"      --timeout SECONDS until a shim is said not to answer (default 2)\n"                 \
	"  -h, --help            this text\n"

const struct ctl_command ctl_list = {
	.name = "list",
	.usage = "kiln-ctl list [OPTIONS]",
	.summary = "the sandboxes of this host",
	.help = "A line for each sandbox: containerd's namespace, the pod, the image of its first\n"
		"container, the template of its machine and where that came from (pooled, cloned,\n"
		"booted), its age and size, the version of its shim (replaced: another one has been\n"
		"installed since it was started) and its containers. All shims are asked at once.\n"
		"One that does not answer has a line that says so. As root, for the shims' sockets\n"
		"are root's.\n\n" OPTIONS "\n"
		"--json: an object with the array \"sandboxes\", each as inspect has it.\n",
	.options = option_table,
	.run = list_run,
};

const struct ctl_command ctl_inspect = {
	.name = "inspect",
	.usage = "kiln-ctl inspect SANDBOX [OPTIONS]",
	.summary = "all that is known of a sandbox",
	.help = "SANDBOX is its id, or a beginning that no other id has. Its guest is not asked.\n\n" OPTIONS
		"\n"
		"Keys of --json, which stay as they are; others may come beside them:\n"
		"  sandbox_id, namespace (containerd's), state (\"unknown\": its shim does not answer),\n"
		"  error, version (of its shim), replaced (true: the shim's program is not the\n"
		"  installed one any more), shim_pid, socket, netns\n"
		"  pod           of Kubernetes: name, namespace, uid; absent elsewhere\n"
		"  machine       vm_id, vm_dir, vmm_pid, template, template_id, origin, reason,\n"
		"                claim_us, claimed_ms (since the epoch), vcpus, memory_mib,\n"
		"                factory_version, guest_cid (its agent is at vsock://CID:1024; 0: it\n"
		"                has no vsock); absent where there is none\n"
		"  containers[]  id, bundle, state, pid, exit_status, image, is_sandbox (it stands\n"
		"                for its pod)\n"
		"\n"
		"Exit codes: 0 done; 1 there is no such sandbox, or several, or its shim does not\n"
		"answer; 2 the command line is wrong.\n",
	.options = option_table,
	.run = inspect_run,
};
