#include "shim/operator_service.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/audit.h"
#include "base/memory.h"
#include "base/strings.h"
#include "factory/client/claim.h"
#include "proto/agent.pb-c.h"
#include "proto/operator.pb-c.h"
#include "proto/ttrpc_server.h"
#include "shim/console.h"
#include "shim/pod.h"
#include "shim/shim.h"

enum { NS_PER_MS = 1000000, GUEST_TIMEOUT_MS = 10000 };

/* A prefix of protobuf-c's names, which are long. */
#define SHIM(name) Kiln__Shim__V1__##name

/* ---------------------------------------------------------------- Inspect */

static const char *container_word(const struct container *container)
{
	if (container_state(container) != CONTAINER_CREATED)
		return container_state_to_string(container_state(container));
	if (container_is_paused(container))
		return "paused";
	return process_state_to_string(process_state(container_init(container)));
}

/* The strings are borrowed. */
static SHIM(ContainerInfo) * describe_container(const struct container *container)
{
	SHIM(ContainerInfo) *info = xnew(SHIM(ContainerInfo));
	const struct process *init = container_init(container);

	kiln__shim__v1__container_info__init(info);
	info->id = (char *)container_id(container);
	info->bundle = (char *)container_bundle(container);
	info->state = (char *)container_word(container);
	info->pid = process_pid(init);
	info->exit_status = process_exit_status(init);
	info->is_sandbox = container_is_sandbox(container);
	return info;
}

static void add_containers(SHIM(SandboxInfo) * info, const struct container_list *list)
{
	struct container *container;

	for (container = TAILQ_FIRST(list); container; container = container_list_next(container)) {
		info->containers = xrealloc_array(info->containers, info->n_containers + 1,
						  sizeof(*info->containers));
		info->containers[info->n_containers++] = describe_container(container);
	}
}

static void free_containers(SHIM(SandboxInfo) * info)
{
	for (size_t i = 0; i < info->n_containers; i++)
		free(info->containers[i]);
	free(info->containers);
}

/* protobuf-c's absent string is an empty one. */
static void set_string(char **field, const char *text)
{
	if (text)
		*field = (char *)text;
}

static void describe_machine(SHIM(Machine) * machine, const struct sandbox *sandbox,
			     const struct claim *claim)
{
	machine->vm_id = claim->vm_id;
	machine->vm_dir = claim->vm_dir;
	machine->template_id = claim->template_id;
	machine->origin = (char *)claim->origin;
	machine->reason = claim->reason;
	machine->claim_us = claim->claim_us;
	machine->claimed_ms = sandbox_claimed_ns(sandbox) / NS_PER_MS;
	machine->vcpus = claim->vcpus;
	machine->memory_mib = claim->memory_mib;
	machine->vmm_pid = (uint32_t)claim->vmm_pid;
	set_string(&machine->factory_version, claim->factory_version);
	machine->guest_cid = claim->guest_cid;
}

static void on_inspect(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
		       void *userdata)
{
	SHIM(SandboxInfo) info = KILN__SHIM__V1__SANDBOX_INFO__INIT;
	SHIM(Machine) machine = KILN__SHIM__V1__MACHINE__INIT;
	SHIM(Pod) pod = KILN__SHIM__V1__POD__INIT;
	const struct sandbox *sandbox = shim_sandbox(userdata);
	const struct claim *claim = sandbox_claim(sandbox);
	const struct pod_names *names = pod_names(shim_pod(userdata));

	info.sandbox_id = (char *)sandbox_id(sandbox);
	info.namespace_ = (char *)shim_namespace(userdata);
	info.state = (char *)sandbox_state_to_string(sandbox_state(sandbox));
	info.version = (char *)KILN_VERSION;
	info.shim_pid = (uint32_t)getpid();
	set_string(&info.netns, sandbox_netns(sandbox));
	if (sandbox_error(sandbox)->number)
		info.error = (char *)error_message(sandbox_error(sandbox));
	set_string(&pod.name, names->name);
	set_string(&pod.namespace_, names->ns);
	set_string(&pod.uid, names->uid);
	info.pod = &pod;
	if (claim) {
		describe_machine(&machine, sandbox, claim);
		info.machine = &machine;
	}
	info.execs = console_count(shim_console(userdata));
	add_containers(&info, shim_containers(userdata));
	ttrpc_call_reply(call, &info.base);
	free_containers(&info);
}

/* ---------------------------------------------------------------- the guest's answers */

static void on_guest(const struct ttrpc_reply *reply, void *userdata)
{
	struct ttrpc_call *call = userdata;

	if (reply->code == TTRPC_OK)
		ttrpc_call_reply(call, reply->response);
	else
		ttrpc_call_fail_code(call, reply->code, "%s", reply->message);
}

static void ask_guest(struct ttrpc_call *call, const char *method, const ProtobufCMessage *request,
		      const struct shim *shim)
{
	uint64_t left = ttrpc_call_time_left(call);

	if (left > GUEST_TIMEOUT_MS)
		left = GUEST_TIMEOUT_MS;
	agent_call(sandbox_agent(shim_sandbox(shim)), method, request, left > 0 ? left : 1,
		   on_guest, call);
}

static void on_guest_metrics(struct ttrpc_call *call, const ProtobufCMessage *request,
			     void *userdata)
{
	ask_guest(call, "GetMetrics", request, userdata);
}

static void on_guest_log(struct ttrpc_call *call, const ProtobufCMessage *request, void *userdata)
{
	ask_guest(call, "GetDiagnosticData", request, userdata);
}

static void on_set_policy(struct ttrpc_call *call, const ProtobufCMessage *request, void *userdata)
{
	struct peer peer = AUDIT_NOBODY;

	if (ttrpc_call_peer(call, &peer) < 0)
		peer = AUDIT_NOBODY;
	audit_policy(sandbox_id(shim_sandbox(userdata)), &peer);
	ask_guest(call, "SetPolicy", request, userdata);
}

static void on_get_iptables(struct ttrpc_call *call, const ProtobufCMessage *request,
			    void *userdata)
{
	ask_guest(call, "GetIPTables", request, userdata);
}

static void on_set_iptables(struct ttrpc_call *call, const ProtobufCMessage *request,
			    void *userdata)
{
	ask_guest(call, "SetIPTables", request, userdata);
}

/* ---------------------------------------------------------------- the debug console */

static void on_exec(struct ttrpc_call *call, const ProtobufCMessage *request, void *userdata)
{
	console_exec(shim_console(userdata), call, (const SHIM(ExecRequest) *)request);
}

static void on_wait_exec(struct ttrpc_call *call, const ProtobufCMessage *request, void *userdata)
{
	console_wait(shim_console(userdata), call,
		     ((const SHIM(WaitExecRequest) *)request)->exec_id);
}

static void on_resize_exec(struct ttrpc_call *call, const ProtobufCMessage *request, void *userdata)
{
	console_resize(shim_console(userdata), call, (const SHIM(ResizeExecRequest) *)request);
}

static void on_close_exec_stdin(struct ttrpc_call *call, const ProtobufCMessage *request,
				void *userdata)
{
	console_close_stdin(shim_console(userdata), call,
			    ((const SHIM(CloseExecStdinRequest) *)request)->exec_id);
}

static const struct ttrpc_method methods[] = {
	{ "Inspect", on_inspect },
	{ "GuestMetrics", on_guest_metrics },
	{ "GuestLog", on_guest_log },
	{ "SetPolicy", on_set_policy },
	{ "GetIPTables", on_get_iptables },
	{ "SetIPTables", on_set_iptables },
	{ "Exec", on_exec },
	{ "WaitExec", on_wait_exec },
	{ "ResizeExec", on_resize_exec },
	{ "CloseExecStdin", on_close_exec_stdin },
};

static const struct ttrpc_service service = {
	.descriptor = &kiln__shim__v1__operator__descriptor,
	.methods = methods,
	.nmethods = ARRAY_SIZE(methods),
};

void operator_service_add(struct ttrpc_server *server)
{
	ttrpc_server_add(server, &service);
}

bool operator_service_asks(const ProtobufCMessage *request)
{
	for (unsigned i = 0; i < service.descriptor->n_methods; i++)
		if (service.descriptor->methods[i].input == request->descriptor)
			return true;
	return false;
}
