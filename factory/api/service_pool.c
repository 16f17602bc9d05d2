#include "factory/api/service_pool.h"

#include <stdlib.h>

#include "base/memory.h"
#include "factory/api/service.h"
#include "proto/factory.pb-c.h"

static struct pool *find_pool(struct ttrpc_call *call, struct factory *factory, const char *name)
{
	struct slot *slot = service_find_slot(call, factory, name);

	return slot ? slot_pool(slot) : NULL;
}

/* ---------------------------------------------------------------- Warm */

struct warming {
	struct ttrpc_call *call;
	struct pool *pool; /* answers before it ends */
};

static void on_warm(int number, const struct error *err, void *userdata)
{
	Kiln__Factory__V1__WarmResponse response = KILN__FACTORY__V1__WARM_RESPONSE__INIT;
	_cleanup_free_ struct warming *warming = userdata;
	struct pool_counts counts;

	if (number < 0) {
		ttrpc_call_fail(warming->call, err);
		return;
	}
	pool_counts(warming->pool, &counts);
	response.parked = counts.parked;
	ttrpc_call_reply(warming->call, &response.base);
}

void rpc_on_warm(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Kiln__Factory__V1__WarmRequest *request = (const void *)message;
	_cleanup_(error_done) struct error err = {};
	struct pool *pool = find_pool(call, userdata, request->template_);

	service_audit(call, "warm", request->template_, request->count);
	if (!pool)
		return;
	struct warming *warming = xnew(struct warming);
	*warming = (struct warming){ .call = call, .pool = pool };
	if (pool_warm(pool, request->count, on_warm, warming, &err) < 0) {
		ttrpc_call_fail(call, &err);
		free(warming);
	}
}

/* ---------------------------------------------------------------- Drain, Pause, Resume */

static void on_drained(int number, const struct error *err, void *userdata)
{
	Kiln__Factory__V1__DrainResponse response = KILN__FACTORY__V1__DRAIN_RESPONSE__INIT;

	if (number < 0)
		ttrpc_call_fail(userdata, err);
	else
		ttrpc_call_reply(userdata, &response.base);
}

void rpc_on_drain(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Kiln__Factory__V1__DrainRequest *request = (const void *)message;
	struct pool *pool = find_pool(call, userdata, request->template_);

	service_audit(call, "drain", request->template_, 0);
	if (pool)
		pool_drain(pool, on_drained, call);
}

void rpc_on_pause(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Kiln__Factory__V1__PauseRequest *request = (const void *)message;
	Kiln__Factory__V1__PauseResponse response = KILN__FACTORY__V1__PAUSE_RESPONSE__INIT;
	struct pool *pool = find_pool(call, userdata, request->template_);

	service_audit(call, "pause", request->template_, 0);
	if (!pool)
		return;
	pool_pause(pool);
	ttrpc_call_reply(call, &response.base);
}

void rpc_on_resume(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Kiln__Factory__V1__ResumeRequest *request = (const void *)message;
	Kiln__Factory__V1__ResumeResponse response = KILN__FACTORY__V1__RESUME_RESPONSE__INIT;
	struct pool *pool = find_pool(call, userdata, request->template_);

	service_audit(call, "resume", request->template_, 0);
	if (!pool)
		return;
	pool_resume(pool);
	ttrpc_call_reply(call, &response.base);
}
