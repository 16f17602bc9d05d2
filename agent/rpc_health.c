#include "agent/rpc.h"
#include "proto/health.pb-c.h"

/* Of the agent protocol that Kata's clients expect. */
#define PROTOCOL_VERSION "0.0.1"

RPC_HANDLER(health_check)
{
	Grpc__HealthCheckResponse response = GRPC__HEALTH_CHECK_RESPONSE__INIT;

	(void)message;
	(void)userdata;
	response.status = GRPC__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
	ttrpc_call_reply(call, &response.base);
}

RPC_HANDLER(health_version)
{
	Grpc__VersionCheckResponse response = GRPC__VERSION_CHECK_RESPONSE__INIT;

	(void)message;
	(void)userdata;
	response.grpc_version = (char *)PROTOCOL_VERSION;
	response.agent_version = (char *)KILN_VERSION;
	ttrpc_call_reply(call, &response.base);
}
