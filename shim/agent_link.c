#include "shim/agent_link.h"

#include "base/memory.h"
#include "proto/agent.pb-c.h"

struct agent_link {
	struct loop *loop;
	struct ttrpc_client *client; /* borrowed; NULL: the link is down */
	guest_lost_fn on_lost;
	void *userdata;
	unsigned refs; /* the owner's, one of each call in flight */
	bool is_lost;  /* on_lost is called, or about to be */
	enum guest_loss loss;
};

struct agent_call {
	struct agent_link *link; /* a reference */
	ttrpc_reply_fn on_reply; /* NULL: nobody waits */
	void *userdata;
};

struct agent_link *agent_link_new(struct loop *loop, struct ttrpc_client *client,
				  guest_lost_fn on_lost, void *userdata)
{
	struct agent_link *link = xnew(struct agent_link);

	*link = (struct agent_link){
		.loop = loop,
		.refs = 1,
		.client = client,
		.on_lost = on_lost,
		.userdata = userdata,
	};
	return link;
}

static void link_unref(struct agent_link *link)
{
	if (--link->refs == 0)
		loop_defer(link->loop, free, link);
}

void agent_link_free(struct agent_link *link)
{
	if (!link)
		return;
	link->client = NULL;
	link_unref(link);
}

void agent_link_set(struct agent_link *link, struct ttrpc_client *client)
{
	link->client = client;
	link->is_lost = false;
}

static void report_lost(void *userdata)
{
	struct agent_link *link = userdata;

	if (link->client && link->on_lost)
		link->on_lost(link->loss, link->userdata);
	link_unref(link);
}

static void lose(struct agent_link *link, enum guest_loss loss)
{
	if (!link->client || link->is_lost)
		return;
	link->is_lost = true;
	link->loss = loss;
	link->refs++;
	loop_defer(link->loop, report_lost, link);
}

void agent_link_give_up(struct agent_link *link)
{
	lose(link, GUEST_SILENT);
}

static void on_reply(const struct ttrpc_reply *reply, void *userdata)
{
	struct agent_call *call = userdata;
	struct agent_link *link = call->link;

	if (reply->code == TTRPC_UNAVAILABLE)
		lose(link, GUEST_GONE);
	if (call->on_reply)
		call->on_reply(reply, call->userdata);
	free(call);
	link_unref(link);
}

static void on_down(void *userdata)
{
	static const struct ttrpc_reply reply = {
		.code = TTRPC_UNAVAILABLE,
		.message = "the sandbox's agent is gone",
	};

	on_reply(&reply, userdata);
}

struct agent_call *agent_call_service(struct agent_link *link,
				      const ProtobufCServiceDescriptor *service, const char *method,
				      const ProtobufCMessage *request, uint64_t timeout_ms,
				      ttrpc_reply_fn fn, void *userdata)
{
	struct agent_call *call = xnew(struct agent_call);
	struct ttrpc_call_options options = {
		.service = service,
		.method = method,
		.request = request,
		.timeout_ms = timeout_ms,
		.on_reply = on_reply,
		.userdata = call,
	};

	*call = (struct agent_call){ .link = link, .on_reply = fn, .userdata = userdata };
	link->refs++;
	if (link->client)
		ttrpc_client_call(link->client, &options);
	else
		loop_defer(link->loop, on_down, call);
	return call;
}

struct agent_call *agent_call(struct agent_link *link, const char *method,
			      const ProtobufCMessage *request, uint64_t timeout_ms,
			      ttrpc_reply_fn fn, void *userdata)
{
	return agent_call_service(link, &grpc__agent_service__descriptor, method, request,
				  timeout_ms, fn, userdata);
}

void agent_call_cancel(struct agent_call *call)
{
	if (call)
		call->on_reply = NULL;
}
