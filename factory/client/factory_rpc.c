#include "factory/client/factory_rpc.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/socket.h"

enum { DIAL_AGAIN_MS = 20 };

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
		return error_set(
			err, EAGAIN,
			"the factory at %s is there, but its queue of connections is full: "
			"try again",
			address);
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

/* ---- waiting for room in the queue */

struct dial {
	struct loop *loop;
	struct factory_dial_options options; /* the address is owned */
	uint64_t deadline_ms;
	struct loop_timer *again; /* the kernel tells nobody when there is room */
};

static void dial_end(struct dial *dial, int number, struct ttrpc_client *factory,
		     const struct error *err)
{
	dial->options.fn(number, factory, err, dial->options.userdata);
	loop_timer_free(dial->again);
	free((char *)dial->options.address);
	free(dial);
}

static void on_again(void *userdata)
{
	struct dial *dial = userdata;
	_cleanup_(error_done) struct error err = {};
	struct ttrpc_client *factory = NULL;

	int r = factory_rpc_connect(dial->loop, dial->options.address, &factory, &err);
	if (r == -EAGAIN && clock_monotonic_ms() < dial->deadline_ms)
		loop_timer_start(dial->again, DIAL_AGAIN_MS);
	else
		dial_end(dial, r, factory, r < 0 ? &err : NULL);
}

int factory_dial(struct loop *loop, const struct factory_dial_options *options, struct error *err)
{
	struct ttrpc_client *factory = NULL;

	int r = factory_rpc_connect(loop, options->address, &factory, err);
	if (r == 0)
		options->fn(0, factory, NULL, options->userdata);
	if (r != -EAGAIN)
		return r;
	error_done(err);
	struct dial *dial = xnew(struct dial);
	*dial = (struct dial){ .loop = loop,
			       .options = *options,
			       .deadline_ms = clock_monotonic_ms() + options->timeout_ms };
	dial->options.address = xstrdup(options->address);
	dial->again = loop_timer_new(loop, on_again, dial);
	loop_timer_start(dial->again, DIAL_AGAIN_MS);
	return 0;
}

/* ---- calls */

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
	if (r == -EOPNOTSUPP)
		return error_wrap(
			err,
			"the factory that runs does not serve what Kiln " KILN_VERSION
			" asks (systemctl restart kiln-factory starts the installed one): %s",
			method);
	if (r < 0)
		return error_wrap(err, "factory's %s", method);
	if (ret_response)
		*ret_response = response;
	else
		protobuf_c_message_free_unpacked(response, NULL);
	return 0;
}
