#include "ctl/factory_link.h"

#include "ctl/ctl.h"

#define STATUS_TIMEOUT_S 10

const char *factory_default_address(void)
{
	const char *address = getenv("KILN_FACTORY");

	return str_empty(address) ? FACTORY_SOCKET : address;
}

int factory_link_open(const char *address, struct factory_link *ret_link, struct error *err)
{
	struct factory_link link = { .loop = loop_new() };

	int r = factory_rpc_connect(link.loop, address, &link.client, err);
	if (r < 0) {
		loop_free(link.loop);
		return r;
	}
	*ret_link = link;
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
	return factory_rpc_call_wait(link->client, link->loop, method, request, timeout_s * 1000ull,
				     ret_response, err);
}

ProtobufCMessage *factory_link_ask(struct factory_link *link, const char *method,
				   const ProtobufCMessage *request, unsigned timeout_s,
				   unsigned usual_s)
{
	_cleanup_(error_done) struct error err = {};
	ProtobufCMessage *response = NULL;

	if (factory_link_call(link, method, request, timeout_s ? timeout_s : usual_s, &response,
			      &err) < 0)
		(void)ctl_fail(&err);
	return response;
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
