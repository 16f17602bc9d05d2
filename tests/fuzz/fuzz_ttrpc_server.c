/* Bytes of any kind to a ttRPC server: it must answer or refuse, and let go of everything when
 * the peer leaves. */
#include "base/log.h"
#include "fuzz_frames.h"
#include "proto/factory.pb-c.h"
#include "proto/ttrpc_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct ttrpc_call *held[64];
static size_t nheld;
static bool conn_ended;

static void drop_when_cancelled(struct ttrpc_call *call, void *userdata)
{
	(void)userdata;
	ttrpc_call_drop(call);
}

static void on_claim(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Kiln__Factory__V1__ClaimRequest *request = (const void *)message;

	(void)userdata;
	if (request->vcpus == 0 && nheld < ARRAY_SIZE(held))
		held[nheld++] = call;
	else
		ttrpc_call_on_cancel(call, drop_when_cancelled, NULL);
}

static void on_release(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	Kiln__Factory__V1__ReleaseResponse response = KILN__FACTORY__V1__RELEASE_RESPONSE__INIT;
	const Kiln__Factory__V1__ReleaseRequest *request = (const void *)message;

	(void)userdata;
	if (ttrpc_call_metadata(call, "k"))
		ttrpc_call_fail_code(call, TTRPC_NOT_FOUND, "no %s", request->vm_id);
	else
		ttrpc_call_reply(call, &response.base);
}

static void on_conn_end(struct ttrpc_conn *conn, void *userdata)
{
	(void)conn;
	(void)userdata;
	conn_ended = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct ttrpc_method methods[] = { { "Claim", on_claim },
						       { "Release", on_release } };
	static const struct ttrpc_service service = {
		.descriptor = &kiln__factory__v1__factory__descriptor,
		.methods = methods,
		.nmethods = ARRAY_SIZE(methods),
	};
	struct ttrpc_server_options options = { .on_conn_end = on_conn_end, .max_pending = 4096 };
	struct loop *loop = loop_new();
	struct ttrpc_server *server = ttrpc_server_new(loop, &options);
	int fds[2];

	log_set_level(LOG_LEVEL_ERROR);
	ttrpc_server_add(server, &service);
	if (socket_pair(fds) < 0 || ttrpc_server_serve(server, fds[0], false, NULL) < 0)
		abort();
	conn_ended = false;
	fuzz_send_input(loop, fds[1], data, size);
	/* Half of the held calls are answered before the peer leaves, the rest after it. */
	while (nheld > 0 && nheld % 2)
		ttrpc_call_drop(held[--nheld]);
	close_fd(fds[1]);
	if (!loop_run_until(loop, &conn_ended, 10000))
		abort();
	if (ttrpc_server_calls(server) != 0)
		abort();
	while (nheld > 0)
		ttrpc_call_drop(held[--nheld]);
	ttrpc_server_free(server);
	loop_free(loop);
	return 0;
}
