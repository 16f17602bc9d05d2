#include "bench/factory_client.h"

#include "base/socket.h"
#include "proto/factory.pb-c.h"
#include "proto/ttrpc_client.h"

#define FACTORY_TIMEOUT_MS 300000

int factory_call(struct loop *loop, const char *address, const char *method,
		 const ProtobufCMessage *request, ProtobufCMessage **ret_response,
		 struct error *err)
{
	_cleanup_(ttrpc_client_free_cleanup) struct ttrpc_client *client = NULL;
	struct ttrpc_client_options client_options = {};
	struct ttrpc_call_options call = {
		.service = &kiln__factory__v1__factory__descriptor,
		.method = method,
		.request = request,
		.timeout_ms = FACTORY_TIMEOUT_MS,
	};
	ProtobufCMessage *response = NULL;
	int fd = -EBADF;

	int r = socket_connect(address, &fd, err);
	if (r < 0)
		return error_wrap(err, "no factory at %s", address);
	client = ttrpc_client_new(loop, fd, &client_options);
	r = ttrpc_client_call_wait(client, loop, &call, &response, NULL, NULL, err);
	if (r < 0)
		return error_wrap(err, "%s at %s", method, address);
	if (ret_response)
		*ret_response = response;
	else
		protobuf_c_message_free_unpacked(response, NULL);
	return 0;
}

int factory_init(struct loop *loop, const char *address, struct error *err)
{
	Kiln__Factory__V1__InitRequest request = KILN__FACTORY__V1__INIT_REQUEST__INIT;

	return factory_call(loop, address, "Init", &request.base, NULL, err);
}
