#include "factory/client/factory_rpc.h"

#include "base/socket.h"

int factory_rpc_connect(struct loop *loop, const char *address, struct ttrpc_client **ret_factory,
			struct error *err)
{
	int fd;

	int r = socket_connect(address, &fd, err);
	if (r == -ENOENT || r == -ECONNREFUSED)
		return error_set(
			err, -r,
			"no factory answers at %s: start it with kiln-factory, or name the "
			"socket of a running one",
			address);
	if (r == -EAGAIN)
		return error_set(err, EAGAIN, "the factory at %s takes no connections", address);
	if (r == -EACCES || r == -EPERM)
		return error_set(err, -r,
				 "no permission to talk to the factory at %s: its socket is for "
				 "the user that runs it (try as root)",
				 address);
	if (r < 0)
		return error_wrap(err, "cannot reach the factory");
	*ret_factory = ttrpc_client_new(loop, fd, &(struct ttrpc_client_options){});
	return 0;
}

static struct ttrpc_call_options call_options(const char *method, const ProtobufCMessage *request,
					      uint64_t timeout_ms)
{
	return (struct ttrpc_call_options){
		.service = &kiln__factory__v1__factory__descriptor,
		.method = method,
		.request = request,
		.timeout_ms = timeout_ms,
	};
}

struct ttrpc_pending *factory_rpc_call(struct ttrpc_client *factory, const char *method,
				       const ProtobufCMessage *request, uint64_t timeout_ms,
				       ttrpc_reply_fn fn, void *userdata)
{
	struct ttrpc_call_options call = call_options(method, request, timeout_ms);

	call.on_reply = fn;
	call.userdata = userdata;
	return ttrpc_client_call(factory, &call);
}

int factory_rpc_call_wait(struct ttrpc_client *factory, struct loop *loop, const char *method,
			  const ProtobufCMessage *request, uint64_t timeout_ms,
			  ProtobufCMessage **ret_response, struct error *err)
{
	const struct ttrpc_call_options call = call_options(method, request, timeout_ms);
	ProtobufCMessage *response = NULL;

	int r = ttrpc_client_call_wait(factory, loop, &call, &response, NULL, NULL, err);
	if (r < 0)
		return error_wrap(err, "factory's %s", method);
	if (ret_response)
		*ret_response = response;
	else
		protobuf_c_message_free_unpacked(response, NULL);
	return 0;
}
