/* Scenarios that talk to the factory and to the claimed guest directly. */

#include "base/clock.h"
#include "base/memory.h"
#include "bench/factory_client.h"
#include "bench/scenarios.h"
#include "factory/vm/claim.h"
#include "factory/vm/rehearsal.h"
#include "proto/agent.pb-c.h"
#include "proto/factory.pb-c.h"

#define CALL_MS 60000

/* ---------------------------------------------------------------- claims, one at a time */

struct pending {
	bool done;
	int number;
	struct claim *claim;
	struct error *err; /* borrowed */
};

static void on_claimed(int number, struct claim *claim, const struct error *err, void *userdata)
{
	struct pending *pending = userdata;

	pending->done = true;
	pending->claim = claim;
	pending->number = number < 0 ? error_set(pending->err, number, "%s", error_message(err))
				     : 0;
}

static void on_released(int number, const struct error *err, void *userdata)
{
	on_claimed(number, NULL, err, userdata);
}

static int claim_wait(struct loop *loop, const char *address, unsigned run,
		      struct claim **ret_claim, struct error *err)
{
	_cleanup_free_ char *sandbox = xasprintf("bench-%d-%u", getpid(), run);
	struct claim_options options = { .factory_address = address, .sandbox_id = sandbox };
	struct pending pending = { .err = err };

	int r = claim_start(loop, &options, on_claimed, &pending, err);
	if (r < 0)
		return r;
	(void)loop_run_until(loop, &pending.done, 2 * CALL_MS);
	if (!pending.done)
		return error_set(err, ETIMEDOUT, "the claim was not answered");
	*ret_claim = pending.claim;
	return pending.number;
}

static int release_wait(struct loop *loop, const char *address, struct claim *claim,
			struct error *err)
{
	struct pending pending = { .err = err };

	claim_release(loop, claim, address, on_released, &pending);
	if (!loop_run_until(loop, &pending.done, CALL_MS))
		return error_set(err, ETIMEDOUT, "the release was not answered");
	return pending.number;
}

static int agent_call(struct loop *loop, struct claim *claim, const char *method,
		      const ProtobufCMessage *request, struct error *err)
{
	struct ttrpc_call_options call = {
		.service = &grpc__agent_service__descriptor,
		.method = method,
		.request = request,
		.timeout_ms = CALL_MS,
	};
	ProtobufCMessage *response = NULL;

	int r = ttrpc_client_call_wait(claim->agent, loop, &call, &response, NULL, NULL, err);
	if (r < 0)
		return error_wrap(err, "%s", method);
	protobuf_c_message_free_unpacked(response, NULL);
	return 0;
}

/* ---------------------------------------------------------------- scenarios */

static int boot_once(struct loop *loop, const char *address, struct series *series,
		     struct error *err)
{
	Kiln__Factory__V1__DestroyRequest destroy = KILN__FACTORY__V1__DESTROY_REQUEST__INIT;
	Kiln__Factory__V1__StatusRequest status = KILN__FACTORY__V1__STATUS_REQUEST__INIT;
	Kiln__Factory__V1__StatusResponse *response = NULL;

	int r = factory_call(loop, address, "Destroy", &destroy.base, NULL, err);
	if (r == 0)
		r = factory_init(loop, address, err);
	if (r == 0)
		r = factory_call(loop, address, "Status", &status.base,
				 (ProtobufCMessage **)&response, err);
	if (r < 0)
		return r;
	if (response && response->n_templates > 0)
		series_add(series, response->templates[0]->boot_ms * 1000000);
	kiln__factory__v1__status_response__free_unpacked(response, NULL);
	return 0;
}

int bench_boot(struct loop *loop, const struct bench_options *options, struct results *results,
	       struct error *err)
{
	for (unsigned i = 0; i < options->boots; i++) {
		int r = boot_once(loop, options->empty, &results->series[SERIES_BOOT], err);
		if (r < 0)
			return r;
	}
	return 0;
}

int bench_clone(struct loop *loop, const struct bench_options *options, struct results *results,
		struct error *err)
{
	int r = factory_init(loop, options->empty, err);

	for (unsigned i = 0; r == 0 && i < options->runs; i++) {
		struct claim *claim = NULL;
		uint64_t begun = clock_monotonic_ns();
		r = claim_wait(loop, options->empty, i, &claim, err);
		if (r < 0)
			return r;
		series_add(&results->series[SERIES_CLONE], clock_monotonic_ns() - begun);
		r = release_wait(loop, options->empty, claim, err);
	}
	return r;
}

static int start_container(struct loop *loop, struct claim *claim, struct error *err)
{
	Grpc__CreateContainerRequest create = GRPC__CREATE_CONTAINER_REQUEST__INIT;
	Grpc__StartContainerRequest start = GRPC__START_CONTAINER_REQUEST__INIT;
	Grpc__Spec *spec = NULL;

	int r = rehearsal_spec(&spec, err);
	if (r < 0)
		return r;
	create.container_id = (char *)"bench";
	create.oci = spec;
	start.container_id = create.container_id;
	r = agent_call(loop, claim, "CreateContainer", &create.base, err);
	if (r == 0)
		r = agent_call(loop, claim, "StartContainer", &start.base, err);
	grpc__spec__free_unpacked(spec, NULL);
	return r;
}

static int use_claim(struct loop *loop, struct claim *claim, uint64_t begun, uint64_t claimed,
		     struct results *results, struct error *err)
{
	Grpc__CreateSandboxRequest sandbox = GRPC__CREATE_SANDBOX_REQUEST__INIT;

	sandbox.sandbox_id = (char *)"bench";
	sandbox.hostname = (char *)"bench";
	int r = agent_call(loop, claim, "CreateSandbox", &sandbox.base, err);
	uint64_t created = clock_monotonic_ns();
	claim_confirm(claim);
	if (r == 0)
		r = start_container(loop, claim, err);
	if (r < 0)
		return r;
	series_add(&results->series[SERIES_CLAIM], claimed - begun);
	series_add(&results->series[SERIES_CREATE_SANDBOX], created - claimed);
	series_add(&results->series[SERIES_CLAIM_CREATE], created - begun);
	series_add(&results->series[SERIES_CONTAINER_START], clock_monotonic_ns() - created);
	return 0;
}

static int claim_once(struct loop *loop, const char *address, unsigned run, struct results *results,
		      struct error *err)
{
	_cleanup_(error_done) struct error ignored = {};
	struct claim *claim = NULL;

	int r = factory_init(loop, address, err);
	if (r < 0)
		return r;
	uint64_t begun = clock_monotonic_ns();
	r = claim_wait(loop, address, run, &claim, err);
	if (!claim)
		return r;
	uint64_t claimed = clock_monotonic_ns();
	r = use_claim(loop, claim, begun, claimed, results, err);
	int released = release_wait(loop, address, claim, r < 0 ? &ignored : err);
	return r < 0 ? r : released;
}

int bench_claim(struct loop *loop, const struct bench_options *options, struct results *results,
		struct error *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < options->runs; i++)
		r = claim_once(loop, options->pool, i, results, err);
	return r;
}
