#include "ctl/sandbox_call.h"

#include "base/socket.h"
#include "proto/ttrpc_client.h"

int sandbox_call(const struct sandbox *sandbox, const char *method, const ProtobufCMessage *request,
		 unsigned timeout_ms, ProtobufCMessage **ret_response, struct error *err)
{
	const struct ttrpc_call_options call = {
		.service = &kiln__shim__v1__operator__descriptor,
		.method = method,
		.request = request,
		.timeout_ms = timeout_ms,
	};
	int fd, r = socket_connect(sandbox->socket, &fd, err);

	if (r < 0)
		return error_wrap(err, "sandbox %s", sandbox->id);
	_cleanup_(loop_free_cleanup) struct loop *loop = loop_new();
	struct ttrpc_client *client = ttrpc_client_new(loop, fd, NULL);

	r = ttrpc_client_call_wait(client, loop, &call, ret_response, NULL, NULL, err);
	ttrpc_client_free(client);
	return r < 0 ? error_wrap(err, "sandbox %s", sandbox->id) : 0;
}
