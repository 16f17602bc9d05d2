/* Calls about containers. */
#include "agent/container.h"
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
	struct container *container = rpc_container(userdata, call, request->container_id);

	if (container)
		container_exec(container, call, request);
}
