#include "ctl/factory_link.h"

#include "base/socket.h"

#define STATUS_TIMEOUT_S 10

const char *factory_default_address(void)
{
	const char *address = getenv("KILN_FACTORY");

	return str_empty(address) ? FACTORY_SOCKET : address;
}

int factory_link_open(const char *address, struct factory_link *ret_link, struct error *err)
{
	int fd = -EBADF;

	int r = socket_connect(address, &fd, err);
	if (r == -ENOENT || r == -ECONNREFUSED)
		return error_set(err, r,
				 "no factory answers at %s: start one with 'kiln-factory', or "
				 "name the socket of a running one with --socket",
				 address);
	if (r == -EACCES || r == -EPERM)
		return error_set(err, r,
				 "no permission to talk to the factory at %s: its socket is for "
				 "the user that runs it (try as root)",
				 address);
	if (r < 0)
		return error_wrap(err, "cannot reach the factory");
	ret_link->loop = loop_new();
	ret_link->client = ttrpc_client_new(ret_link->loop, fd, &(struct ttrpc_client_options){});
	return 0;
}

void factory_link_done(struct factory_link *link)
{
	if (link->client)
		ttrpc_client_free(link->client);
	if (link->loop)
		loop_free(link->loop);
	*link = (struct factory_link){};
}

int factory_link_call(struct factory_link *link, const char *method,
		      const ProtobufCMessage *request, unsigned timeout_s,
		      ProtobufCMessage **ret_response, struct error *err)
{
	const struct ttrpc_call_options options = {
		.service = &kiln__factory__v1__factory__descriptor,
		.method = method,
		.request = request,
		.timeout_ms = timeout_s * 1000ull,
	};

	int r = ttrpc_client_call_wait(link->client, link->loop, &options, ret_response, NULL, NULL,
				       err);
	if (r < 0)
		return error_wrap(err, "factory's %s", method);
	return 0;
}

int factory_link_status(struct factory_link *link, Kiln__Factory__V1__StatusResponse **ret_status,
			struct error *err)
{
	Kiln__Factory__V1__StatusRequest request = KILN__FACTORY__V1__STATUS_REQUEST__INIT;
	ProtobufCMessage *response = NULL;

	int r = factory_link_call(link, "Status", &request.base, STATUS_TIMEOUT_S, &response, err);
	if (r < 0)
		return r;
	*ret_status = (Kiln__Factory__V1__StatusResponse *)response;
	return 0;
}
