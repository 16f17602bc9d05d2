/* Calls about the guest and its sandbox. */
#include "agent/disk_calls.h"
#include "agent/guest.h"
#include "agent/hotplug.h"
#include "agent/interfaces.h"
#include "agent/kernel_limits.h"
#include "agent/routes.h"
#include "agent/rpc.h"
#include "agent/sandbox.h"
#include "agent/storage.h"
#include "agent/volume.h"
#include "base/trace.h"

RPC_HANDLER(get_guest_details)
{
	const Grpc__GuestDetailsRequest *request = (const Grpc__GuestDetailsRequest *)message;
	const struct agent *agent = userdata;
	Grpc__GuestDetailsResponse response = GRPC__GUEST_DETAILS_RESPONSE__INIT;
	Grpc__AgentDetails details = GRPC__AGENT_DETAILS__INIT;

	if (request->mem_block_size)
		response.mem_block_size_bytes = guest_memory_block_size();
	if (request->mem_hotplug_probe)
		response.support_mem_hotplug_probe = guest_can_probe_memory();
	details.version = (char *)KILN_VERSION;
	details.init_daemon = agent->is_init;
	details.supports_seccomp = true;
	details.storage_handlers = (char **)storage_drivers;
	details.n_storage_handlers = storage_drivers_count;
	response.agent_details = &details;
	ttrpc_call_reply(call, &response.base);
}

RPC_HANDLER(reseed_random_dev)
{
	const Grpc__ReseedRandomDevRequest *request = (const Grpc__ReseedRandomDevRequest *)message;
	_cleanup_(error_done) struct error err = {};

	(void)userdata;
	rpc_finish(call, guest_reseed(request->data.data, request->data.len, &err), &err);
}

/* Answered when it is done, whatever `wait` says. It blocks for a vCPU's start, which takes some
 * 100 ms at worst: what comes behind it in the channel counts on it. */
RPC_HANDLER(online_cpu_mem)
{
	const Grpc__OnlineCPUMemRequest *request = (const Grpc__OnlineCPUMemRequest *)message;
	_cleanup_(error_done) struct error err = {};

	(void)userdata;
	int r = hotplug_online_cpus(request->nb_cpus, &err);
	if (r == 0 && !request->cpu_only) {
		r = hotplug_online_memory(&err);
		kernel_limits_follow_memory();
	}
	rpc_finish(call, r, &err);
}

RPC_HANDLER(set_guest_date_time)
{
	const Grpc__SetGuestDateTimeRequest *request =
		(const Grpc__SetGuestDateTimeRequest *)message;
	_cleanup_(error_done) struct error err = {};

	(void)userdata;
	rpc_finish(call, guest_set_time(request->sec, request->usec, &err), &err);
}

RPC_HANDLER(list_interfaces)
{
	_cleanup_(error_done) struct error err = {};
	Grpc__Interfaces *list;

	(void)message;
	(void)userdata;
	if (interfaces_list(&list, &err) < 0) {
		ttrpc_call_fail(call, &err);
		return;
	}
	ttrpc_call_reply(call, &list->base);
	grpc__interfaces__free_unpacked(list, NULL);
}

RPC_HANDLER(update_interface)
{
	const Grpc__UpdateInterfaceRequest *request = (const Grpc__UpdateInterfaceRequest *)message;
	_cleanup_(error_done) struct error err = {};

	(void)userdata;
	if (!request->interface) {
		ttrpc_call_fail_code(call, TTRPC_INVALID_ARGUMENT, "no interface is named");
		return;
	}
	if (interface_update(request->interface, &err) < 0)
		ttrpc_call_fail(call, &err);
	else
		ttrpc_call_reply(call, &request->interface->base); /* as Kata's agent answers */
}

static void reply_routes(struct ttrpc_call *call)
{
	_cleanup_(error_done) struct error err = {};
	Grpc__Routes *list;

	if (routes_list(&list, &err) < 0) {
		ttrpc_call_fail(call, &err);
		return;
	}
	ttrpc_call_reply(call, &list->base);
	grpc__routes__free_unpacked(list, NULL);
}

RPC_HANDLER(list_routes)
{
	(void)message;
	(void)userdata;
	reply_routes(call);
}

RPC_HANDLER(update_routes)
{
	const Grpc__UpdateRoutesRequest *request = (const Grpc__UpdateRoutesRequest *)message;
	static const Grpc__Routes none = GRPC__ROUTES__INIT;
	_cleanup_(error_done) struct error err = {};

	(void)userdata;
	if (routes_update(request->routes ? request->routes : &none, &err) < 0)
		ttrpc_call_fail(call, &err);
	else
		reply_routes(call);
}

RPC_HANDLER(add_arp_neighbors)
{
	const Grpc__AddARPNeighborsRequest *request = (const Grpc__AddARPNeighborsRequest *)message;
	static const Grpc__ARPNeighbors none = GRPC__ARPNEIGHBORS__INIT;
	_cleanup_(error_done) struct error err = {};

	(void)userdata;
	rpc_finish(call, neighbours_add(request->neighbors ? request->neighbors : &none, &err),
		   &err);
}

RPC_HANDLER(create_sandbox)
{
	struct agent *agent = userdata;
	_cleanup_(error_done) struct error err = {};
	const struct trace_span span = trace_begin();
	int r = sandbox_create(agent->sandbox, (const Grpc__CreateSandboxRequest *)message, &err);

	trace_end(TRACE_CREATE_SANDBOX, NULL, &span);
	rpc_finish(call, r, &err);
}

RPC_HANDLER(destroy_sandbox)
{
	struct agent *agent = userdata;

	(void)message;
	sandbox_destroy(agent->sandbox, call);
}

RPC_HANDLER(get_volume_stats)
{
	const Grpc__VolumeStatsRequest *request = (const Grpc__VolumeStatsRequest *)message;
	Grpc__VolumeStatsResponse response = GRPC__VOLUME_STATS_RESPONSE__INIT;
	Grpc__VolumeCondition condition = GRPC__VOLUME_CONDITION__INIT;
	Grpc__VolumeUsage bytes = GRPC__VOLUME_USAGE__INIT, inodes = GRPC__VOLUME_USAGE__INIT;
	Grpc__VolumeUsage *usage[] = { &bytes, &inodes };
	_cleanup_(error_done) struct error err = {};

	(void)userdata;
	if (volume_stats(request->volume_guest_path, &bytes, &inodes, &err) < 0) {
		ttrpc_call_fail(call, &err);
		return;
	}
	response.usage = usage;
	response.n_usage = ARRAY_SIZE(usage);
	response.volume_condition = &condition;
	ttrpc_call_reply(call, &response.base);
}

RPC_HANDLER(resize_volume)
{
	struct agent *agent = userdata;

	disk_calls_resize(agent->disks, call, (const Grpc__ResizeVolumeRequest *)message);
}
