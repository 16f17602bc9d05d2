/* Calls about containers. */
#include "agent/cgroup.h"
#include "agent/console.h"
#include "agent/container.h"
#include "agent/network_stats.h"
#include "agent/rpc.h"
#include "agent/sandbox.h"

RPC_HANDLER(create_container)
{
	struct agent *agent = userdata;

	sandbox_create_container(agent->sandbox, call,
				 (const Grpc__CreateContainerRequest *)message);
}

RPC_HANDLER(start_container)
{
	const Grpc__StartContainerRequest *request = (const Grpc__StartContainerRequest *)message;
	struct container *container = rpc_container(userdata, call, request->container_id);

	if (container)
		container_start(container, call);
}

RPC_HANDLER(remove_container)
{
	const Grpc__RemoveContainerRequest *request = (const Grpc__RemoveContainerRequest *)message;
	struct container *container = rpc_container(userdata, call, request->container_id);

	if (container)
		container_remove(container, call, request->timeout);
}

RPC_HANDLER(exec_process)
{
	const Grpc__ExecProcessRequest *request = (const Grpc__ExecProcessRequest *)message;
	struct agent *agent = userdata;
	struct container *container;

	if (str_empty(request->container_id)) {
		console_exec(agent->console, call, request);
		return;
	}
	container = rpc_container(agent, call, request->container_id);
	if (container)
		container_exec(container, call, request);
}

RPC_HANDLER(pause_container)
{
	const Grpc__PauseContainerRequest *request = (const Grpc__PauseContainerRequest *)message;
	struct container *container = rpc_container(userdata, call, request->container_id);

	if (container)
		container_pause(container, call, true);
}

RPC_HANDLER(resume_container)
{
	const Grpc__ResumeContainerRequest *request = (const Grpc__ResumeContainerRequest *)message;
	struct container *container = rpc_container(userdata, call, request->container_id);

	if (container)
		container_pause(container, call, false);
}

RPC_HANDLER(update_container)
{
	const Grpc__UpdateContainerRequest *request = (const Grpc__UpdateContainerRequest *)message;
	struct container *container = rpc_container(userdata, call, request->container_id);
	_cleanup_(error_done) struct error err = {};
	int r = 0;

	if (!container)
		return;
	if (request->resources)
		r = container_update(container, request->resources, &err);
	rpc_finish(call, r, &err);
}

RPC_HANDLER(stats_container)
{
	const Grpc__StatsContainerRequest *request = (const Grpc__StatsContainerRequest *)message;
	struct container *container = rpc_container(userdata, call, request->container_id);
	_cleanup_(error_done) struct error err = {};
	Grpc__StatsContainerResponse *response;

	if (!container)
		return;
	cgroup_count_block_io();
	if (container_stats(container, &response, &err) < 0) {
		ttrpc_call_fail(call, &err);
		return;
	}
	network_stats_add(response);
	ttrpc_call_reply(call, &response->base);
	grpc__stats_container_response__free_unpacked(response, NULL);
}

RPC_HANDLER(get_oom_event)
{
	struct agent *agent = userdata;

	(void)message;
	sandbox_get_oom_event(agent->sandbox, call);
}

RPC_HANDLER(list_processes)
{
	const Kiln__Guest__V1__ListProcessesRequest *request = (const void *)message;
	struct container *container = rpc_container(userdata, call, request->container_id);
	_cleanup_(error_done) struct error err = {};
	Kiln__Guest__V1__ListProcessesResponse *response;

	if (!container)
		return;
	if (container_list(container, &response, &err) < 0) {
		ttrpc_call_fail(call, &err);
		return;
	}
	ttrpc_call_reply(call, &response->base);
	kiln__guest__v1__list_processes_response__free_unpacked(response, NULL);
}
