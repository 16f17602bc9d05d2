#include "bench/sandbox.h"

#include "base/memory.h"
#include "base/strbuf.h"
#include "factory/guest/guest_root.h"
#include "factory/guest/guest_share.h"
#include "factory/vm/rehearsal.h"
#include "proto/agent.pb-c.h"

#define CALL_MS      60000
#define CONTAINER_ID "bench"
#define OUTPUT_MAX   4096

/* ---------------------------------------------------------------- claim and release */

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

int sandbox_claim(struct bench *bench, const char *address, struct claim **ret_claim,
		  struct error *err)
{
	_cleanup_free_ char *sandbox = bench_id(bench);
	struct claim_options options = {
		.factory_address = address,
		.sandbox_id = sandbox,
		.no_fallback = true,
	};
	struct pending pending = { .err = err };

	int r = claim_start(bench->loop, &options, on_claimed, &pending, err);
	if (r < 0)
		return r;
	if (!loop_run_until(bench->loop, &pending.done, 2 * CALL_MS))
		return error_set(err, ETIMEDOUT, "the claim was not answered");
	*ret_claim = pending.claim;
	return pending.number;
}

int sandbox_release(struct bench *bench, const char *address, struct claim *claim,
		    struct error *err)
{
	struct pending pending = { .err = err };

	claim_release(bench->loop, claim, address, on_released, &pending);
	if (!loop_run_until(bench->loop, &pending.done, CALL_MS))
		return error_set(err, ETIMEDOUT, "the release was not answered");
	return pending.number;
}

/* ---------------------------------------------------------------- the agent */

static int call_for_answer(struct bench *bench, struct ttrpc_client *agent, const char *method,
			   const ProtobufCMessage *request, ProtobufCMessage **ret_response,
			   struct error *err)
{
	struct ttrpc_call_options call = {
		.service = &grpc__agent_service__descriptor,
		.method = method,
		.request = request,
		.timeout_ms = CALL_MS,
	};

	int r = ttrpc_client_call_wait(agent, bench->loop, &call, ret_response, NULL, NULL, err);
	return r < 0 ? error_wrap(err, "%s", method) : 0;
}

int sandbox_call(struct bench *bench, struct ttrpc_client *agent, const char *method,
		 const ProtobufCMessage *request, struct error *err)
{
	ProtobufCMessage *response = NULL;

	int r = call_for_answer(bench, agent, method, request, &response, err);
	if (r == 0)
		protobuf_c_message_free_unpacked(response, NULL);
	return r;
}

int sandbox_create(struct bench *bench, struct ttrpc_client *agent, struct error *err)
{
	Grpc__CreateSandboxRequest request = GRPC__CREATE_SANDBOX_REQUEST__INIT;
	_cleanup_(storages_done) struct storages storages = {};

	guest_share_add(&storages, GUEST_SHARE_TAG);
	guest_root_add_lower_share(&storages);
	request.storages = storages.items;
	request.n_storages = storages.count;
	request.sandbox_id = (char *)"bench";
	request.hostname = (char *)"bench";
	return sandbox_call(bench, agent, "CreateSandbox", &request.base, err);
}

int sandbox_start_container(struct bench *bench, struct ttrpc_client *agent, struct error *err)
{
	Grpc__CreateContainerRequest create = GRPC__CREATE_CONTAINER_REQUEST__INIT;
	Grpc__StartContainerRequest start = GRPC__START_CONTAINER_REQUEST__INIT;
	_cleanup_(storages_done) struct storages storages = {};
	Grpc__Spec *spec = NULL;

	/* A root that machines with slots and without have, and those that were booted plainly. */
	int r = rehearsal_make(false, false, &spec, &storages, err);
	if (r < 0)
		return r;
	create.storages = storages.items;
	create.n_storages = storages.count;
	create.container_id = (char *)CONTAINER_ID;
	create.oci = spec;
	start.container_id = (char *)CONTAINER_ID;
	r = sandbox_call(bench, agent, "CreateContainer", &create.base, err);
	if (r == 0)
		r = sandbox_call(bench, agent, "StartContainer", &start.base, err);
	grpc__spec__free_unpacked(spec, NULL);
	return r;
}

int sandbox_remove_container(struct bench *bench, struct ttrpc_client *agent, struct error *err)
{
	Grpc__WaitProcessRequest wait = GRPC__WAIT_PROCESS_REQUEST__INIT;
	Grpc__RemoveContainerRequest remove = GRPC__REMOVE_CONTAINER_REQUEST__INIT;

	wait.container_id = (char *)CONTAINER_ID;
	remove.container_id = (char *)CONTAINER_ID;
	int r = sandbox_call(bench, agent, "WaitProcess", &wait.base, err);
	return r < 0 ? r : sandbox_call(bench, agent, "RemoveContainer", &remove.base, err);
}

/* Appends what there is; *ret_ended: nothing more comes. */
static int read_stream(struct bench *bench, struct ttrpc_client *agent, const char *id,
		       const char *stream, struct strbuf *output, bool *ret_ended,
		       struct error *err)
{
	Grpc__ReadStreamRequest request = GRPC__READ_STREAM_REQUEST__INIT;
	Grpc__ReadStreamResponse *response = NULL;

	request.container_id = (char *)id;
	/* The agent knows a container's first process by the container's own id. */
	request.exec_id = (char *)id;
	request.len = OUTPUT_MAX;
	int r = call_for_answer(bench, agent, stream, &request.base, (ProtobufCMessage **)&response,
				err);
	if (r < 0)
		return r;
	*ret_ended = response->data.len == 0;
	strbuf_add(output, response->data.data, response->data.len);
	grpc__read_stream_response__free_unpacked(response, NULL);
	return 0;
}

int sandbox_read_output(struct bench *bench, struct ttrpc_client *agent, struct error *err)
{
	_cleanup_(strbuf_done) struct strbuf output = {};
	bool ended = false;

	int r = read_stream(bench, agent, CONTAINER_ID, "ReadStdout", &output, &ended, err);
	if (r < 0)
		return r;
	return ended ? error_set(err, EIO, "the container wrote nothing") : 0;
}

int sandbox_read_all(struct bench *bench, struct ttrpc_client *agent, const char *id,
		     const char *stream, size_t max, char **ret_output, struct error *err)
{
	_cleanup_(strbuf_done) struct strbuf output = {};
	bool ended = false;
	int r = 0;

	while (r == 0 && !ended && output.len <= max)
		r = read_stream(bench, agent, id, stream, &output, &ended, err);
	if (r < 0)
		return r;
	if (output.len > max)
		return error_set(err, EFBIG, "container %s writes more than %zu bytes", id, max);
	*ret_output = strbuf_steal(&output);
	return 0;
}
