#include "bench/factory_client.h"

#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "factory/client/factory_rpc.h"

#define FACTORY_TIMEOUT_MS 300000
#define MACHINE_TIMEOUT_MS 60000 /* for each one that is to be parked */
#define REST_TIMEOUT_MS    60000
#define REST_LOOK_USLEEP   20000

static int call_within(struct loop *loop, const char *address, const char *method,
		       const ProtobufCMessage *request, uint64_t timeout_ms,
		       ProtobufCMessage **ret_response, struct error *err)
{
	_cleanup_(ttrpc_client_free_cleanup) struct ttrpc_client *client = NULL;

	int r = factory_rpc_connect(loop, address, &client, err);
	return r < 0 ? r
		     : factory_rpc_call_wait(client, loop, method, request, timeout_ms,
					     ret_response, err);
}

int factory_call(struct loop *loop, const char *address, const char *method,
		 const ProtobufCMessage *request, ProtobufCMessage **ret_response,
		 struct error *err)
{
	return call_within(loop, address, method, request, FACTORY_TIMEOUT_MS, ret_response, err);
}

int factory_init(struct loop *loop, const char *address, struct error *err)
{
	Kiln__Factory__V1__InitRequest request = KILN__FACTORY__V1__INIT_REQUEST__INIT;

	return factory_call(loop, address, "Init", &request.base, NULL, err);
}

static bool pool_rests(const Kiln__Factory__V1__StatusResponse *status)
{
	for (size_t i = 0; i < status->n_templates; i++) {
		const Kiln__Factory__V1__PoolStatus *pool = status->templates[i]->pool;
		if (pool && (pool->coming > 0 || pool->spares < pool->spares_target))
			return false;
	}
	return true;
}

int factory_rest(struct loop *loop, const char *address, struct error *err)
{
	uint64_t deadline_ms = clock_monotonic_ms() + REST_TIMEOUT_MS;

	while (clock_monotonic_ms() < deadline_ms) {
		_cleanup_(status_response_free_cleanup)
			Kiln__Factory__V1__StatusResponse *status = NULL;
		int r = factory_status(loop, address, &status, err);
		if (r < 0 || pool_rests(status))
			return r;
		usleep(REST_LOOK_USLEEP);
	}
	return error_set(err, ETIMEDOUT, "the factory at %s still makes machines after %d s",
			 address, REST_TIMEOUT_MS / 1000);
}

/* Words about a pool name its template. A benchmark's factory has one. */
static int first_template(struct loop *loop, const char *address, char **ret_name,
			  struct error *err)
{
	_cleanup_(status_response_free_cleanup) Kiln__Factory__V1__StatusResponse *status = NULL;

	int r = factory_status(loop, address, &status, err);
	if (r < 0)
		return r;
	if (!status || status->n_templates == 0)
		return error_set(err, ENOENT, "the factory at %s has no template", address);
	*ret_name = xstrdup(status->templates[0]->name);
	return 0;
}

int factory_warm(struct loop *loop, const char *address, unsigned count, struct error *err)
{
	int r = factory_park(loop, address, count, err);

	return r < 0 ? r : factory_rest(loop, address, err);
}

int factory_park(struct loop *loop, const char *address, unsigned count, struct error *err)
{
	Kiln__Factory__V1__WarmRequest request = KILN__FACTORY__V1__WARM_REQUEST__INIT;
	_cleanup_free_ char *name = NULL;

	int r = first_template(loop, address, &name, err);
	if (r < 0)
		return r;
	request.template_ = name;
	request.count = count;
	return call_within(loop, address, "Warm", &request.base,
			   FACTORY_TIMEOUT_MS + (uint64_t)count * MACHINE_TIMEOUT_MS, NULL, err);
}

int factory_empty(struct loop *loop, const char *address, struct error *err)
{
	Kiln__Factory__V1__DrainRequest drain = KILN__FACTORY__V1__DRAIN_REQUEST__INIT;
	Kiln__Factory__V1__ResumeRequest resume = KILN__FACTORY__V1__RESUME_REQUEST__INIT;
	_cleanup_free_ char *name = NULL;

	int r = first_template(loop, address, &name, err);
	if (r < 0)
		return r;
	drain.template_ = resume.template_ = name;
	r = factory_call(loop, address, "Drain", &drain.base, NULL, err);
	if (r == 0)
		r = factory_call(loop, address, "Resume", &resume.base, NULL, err);
	return r < 0 ? r : factory_rest(loop, address, err);
}

int factory_status(struct loop *loop, const char *address,
		   Kiln__Factory__V1__StatusResponse **ret_status, struct error *err)
{
	Kiln__Factory__V1__StatusRequest request = KILN__FACTORY__V1__STATUS_REQUEST__INIT;

	return factory_call(loop, address, "Status", &request.base, (ProtobufCMessage **)ret_status,
			    err);
}

int factory_inspect(struct loop *loop, const char *address,
		    Kiln__Factory__V1__InspectResponse **ret_response, struct error *err)
{
	Kiln__Factory__V1__InspectRequest request = KILN__FACTORY__V1__INSPECT_REQUEST__INIT;
	_cleanup_free_ char *name = NULL;

	int r = first_template(loop, address, &name, err);
	if (r < 0)
		return r;
	request.template_ = name;
	return factory_call(loop, address, "Inspect", &request.base,
			    (ProtobufCMessage **)ret_response, err);
}

const char *factory_input(const Kiln__Factory__V1__InspectResponse *inspected, const char *name)
{
	for (size_t i = 0; i < inspected->n_inputs; i++) {
		const Kiln__Factory__V1__TemplateInput *input = inspected->inputs[i];
		if (str_equal(input->name, name))
			return str_empty(input->path) ? input->baked : input->path;
	}
	return NULL;
}

int factory_list(struct loop *loop, const char *address, Kiln__Factory__V1__ListResponse **ret_list,
		 struct error *err)
{
	Kiln__Factory__V1__ListRequest request = KILN__FACTORY__V1__LIST_REQUEST__INIT;

	return factory_call(loop, address, "List", &request.base, (ProtobufCMessage **)ret_list,
			    err);
}
