/* Calls by which the host looks into the guest or puts something into it, and those that are
 * refused because the guest lacks what they need. */
#include <sys/stat.h>

#include "agent/copy_file.h"
#include "agent/guest.h"
#include "agent/hotplug.h"
#include "agent/metrics.h"
#include "agent/policy.h"
#include "agent/rpc.h"
#include "agent/sandbox.h"
#include "agent/swap.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "proto/memagent.pb-c.h"

RPC_HANDLER(copy_file)
{
	_cleanup_(error_done) struct error err = {};

	(void)userdata;
	rpc_finish(call, copy_file(COPY_FILE_ROOT, (const Grpc__CopyFileRequest *)message, &err),
		   &err);
}

RPC_HANDLER(update_ephemeral_mounts)
{
	const Grpc__UpdateEphemeralMountsRequest *request = (const void *)message;
	struct agent *agent = userdata;
	_cleanup_(error_done) struct error err = {};
	int r = 0;

	for (size_t i = 0; r == 0 && i < request->n_storages; i++)
		r = sandbox_update_storage(agent->sandbox, request->storages[i], &err);
	rpc_finish(call, r, &err);
}

/* ---------------------------------------------------------------- looking into it */

RPC_HANDLER(get_metrics)
{
	Grpc__Metrics response = GRPC__METRICS__INIT;
	_cleanup_(strbuf_done) struct strbuf text = {};
	struct agent *agent = userdata;
	struct container *const *containers;
	size_t count = sandbox_containers(agent->sandbox, &containers);

	(void)message;
	metrics_write(containers, count, &text);
	response.metrics = (char *)strbuf_text(&text);
	ttrpc_call_reply(call, &response.base);
}

static void reply_diagnostic(struct ttrpc_call *call, struct strbuf *text)
{
	Grpc__GetDiagnosticDataResponse response = GRPC__GET_DIAGNOSTIC_DATA_RESPONSE__INIT;

	if (text->text)
		str_neutralise(text->text, "\n");
	response.data = (char *)strbuf_text(text);
	ttrpc_call_reply(call, &response.base);
}

RPC_HANDLER(get_diagnostic_data)
{
	const Grpc__GetDiagnosticDataRequest *request = (const void *)message;
	_cleanup_(strbuf_done) struct strbuf text = {};
	_cleanup_(error_done) struct error err = {};

	if (str_equal(request->log_type, "container")) {
		const struct container *container = rpc_container(userdata, call,
								  request->container_id);
		if (!container)
			return;
		diagnostic_container(container, &text);
	} else if (!str_equal(request->log_type, "kernel")) {
		ttrpc_call_fail_code(call, TTRPC_INVALID_ARGUMENT,
				     "log_type \"%.64s\" is neither \"kernel\" nor \"container\"",
				     request->log_type);
		return;
	} else if (diagnostic_kernel(&text, &err) < 0) {
		ttrpc_call_fail(call, &err);
		return;
	}
	reply_diagnostic(call, &text);
}

/* ---------------------------------------------------------------- memory */

/* Outside of a guest it would be the developer's machine that swaps. */
static bool is_guest(const struct agent *agent, struct ttrpc_call *call)
{
	if (!agent->is_init)
		ttrpc_call_fail_code(call, TTRPC_FAILED_PRECONDITION,
				     "this is for guests, and this agent is not in one");
	return agent->is_init;
}

RPC_HANDLER(add_swap)
{
	const Grpc__AddSwapRequest *request = (const Grpc__AddSwapRequest *)message;
	_cleanup_(error_done) struct error err = {};

	if (is_guest(userdata, call))
		rpc_finish(call, swap_add_pci(request->pcipath, request->n_pcipath, &err), &err);
}

RPC_HANDLER(add_swap_path)
{
	const Grpc__AddSwapPathRequest *request = (const Grpc__AddSwapPathRequest *)message;
	_cleanup_(error_done) struct error err = {};

	if (is_guest(userdata, call))
		rpc_finish(call, swap_add(request->path, &err), &err);
}

RPC_HANDLER(mem_hotplug_by_probe)
{
	const Grpc__MemHotplugByProbeRequest *request = (const void *)message;
	_cleanup_(error_done) struct error err = {};
	int r = 0;

	if (!is_guest(userdata, call))
		return;
	if (!guest_can_probe_memory()) {
		ttrpc_call_fail_code(call, TTRPC_FAILED_PRECONDITION,
				     "the guest's kernel cannot be told of memory by its address "
				     "(CONFIG_ARCH_MEMORY_PROBE): it comes by virtio-mem");
		return;
	}
	for (size_t i = 0; r == 0 && i < request->n_memhotplugprobeaddr; i++)
		r = hotplug_probe_memory(request->memhotplugprobeaddr[i], &err);
	rpc_finish(call, r, &err);
}

/* ---------------------------------------------------------------- the policy */

RPC_HANDLER(set_policy)
{
	const Grpc__SetPolicyRequest *request = (const Grpc__SetPolicyRequest *)message;
	struct agent *agent = userdata;
	_cleanup_(error_done) struct error err = {};
	struct policy *policy = NULL;
	int r = policy_parse(request->policy, &policy, &err);

	if (r == 0) {
		policy_free(agent->policy);
		agent->policy = policy;
	}
	rpc_finish(call, r, &err);
}

bool rpc_is_allowed(struct ttrpc_call *call, const ProtobufCMessage *request, void *userdata)
{
	const struct agent *agent = userdata;
	_cleanup_(error_done) struct error err = {};

	if (policy_check(agent->policy, ttrpc_call_method(call), request, &err) == 0)
		return true;
	ttrpc_call_fail(call, &err);
	return false;
}

/* ---------------------------------------------------------------- what the guest lacks */

static void refuse_iptables(struct ttrpc_call *call, bool is_ipv6)
{
	const char *family = is_ipv6 ? "ip6tables" : "iptables";

	ttrpc_call_fail_code(call, TTRPC_FAILED_PRECONDITION,
			     "the guest image has no %s-save and %s-restore: its rules are set on "
			     "the host, in the pod's network namespace",
			     family, family);
}

RPC_HANDLER(get_iptables)
{
	(void)userdata;
	refuse_iptables(call, ((const Grpc__GetIPTablesRequest *)message)->is_ipv6);
}

RPC_HANDLER(set_iptables)
{
	(void)userdata;
	refuse_iptables(call, ((const Grpc__SetIPTablesRequest *)message)->is_ipv6);
}

RPC_HANDLER(mem_agent)
{
	(void)message;
	(void)userdata;
	ttrpc_call_fail_code(call, TTRPC_UNIMPLEMENTED,
			     "%s is not supported: no memory agent runs in this guest",
			     ttrpc_call_method(call));
}

RPC_HANDLER(remove_stale_shares)
{
	(void)message;
	(void)userdata;
	ttrpc_call_fail_code(call, TTRPC_UNIMPLEMENTED,
			     "RemoveStaleVirtiofsShareMounts is not supported: a share lives as "
			     "long as its storage, and its device is never replaced under it");
}
