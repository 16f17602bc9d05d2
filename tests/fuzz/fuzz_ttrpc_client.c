/* Bytes of any kind as the answers to calls: each call must end exactly once. */
#include "fuzz_frames.h"
#include "proto/factory.pb-c.h"
#include "proto/ttrpc_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CALLS = 6 };

static bool connection_ended;

static void on_reply(const struct ttrpc_reply *reply, void *userdata)
{
	unsigned *answered = userdata;

	if ((reply->response != NULL) != (reply->code == TTRPC_OK) || !reply->message)
		abort();
	(*answered)++;
}

static void on_end(struct ttrpc_client *client, int reason, void *userdata)
{
	(void)client;
	(void)reason;
	(void)userdata;
	connection_ended = true;
}

static void start_calls(struct ttrpc_client *client, unsigned *answered)
{
	Kiln__Factory__V1__ClaimRequest claim = KILN__FACTORY__V1__CLAIM_REQUEST__INIT;
	Kiln__Factory__V1__StatusRequest status = KILN__FACTORY__V1__STATUS_REQUEST__INIT;
	struct ttrpc_call_options options = {
		.service = &kiln__factory__v1__factory__descriptor,
		.on_reply = on_reply,
	};

	for (unsigned i = 0; i < CALLS; i++) {
		options.method = i % 2 ? "Claim" : "Status";
		options.request = i % 2 ? &claim.base : &status.base;
		options.userdata = &answered[i];
		options.timeout_ms = 60000;
		ttrpc_client_call(client, &options);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ttrpc_client_options options = { .on_end = on_end };
	struct loop *loop = loop_new();
	unsigned answered[CALLS] = {};
	int fds[2];

	if (socket_pair(fds) < 0)
		abort();
	connection_ended = false;
	struct ttrpc_client *client = ttrpc_client_new(loop, fds[0], &options);
	start_calls(client, answered);
	fuzz_send_input(loop, fds[1], data, size);
	close_fd(fds[1]);
	if (!loop_run_until(loop, &connection_ended, 10000))
		abort();
	for (unsigned i = 0; i < CALLS; i++)
		if (answered[i] != 1)
			abort();
	ttrpc_client_free(client);
	loop_free(loop);
	return 0;
}
