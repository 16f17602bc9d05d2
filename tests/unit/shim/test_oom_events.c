/* A guest that always has another container that ran out of memory. */
#include "fake_agent.h"

#include "base/loop.h"
#include "shim/oom_events.h"

enum { LOOK_MS = 300 };

struct bench {
	struct loop *loop;
	struct ttrpc_server *guest;
	struct ttrpc_conn *conn;
	struct ttrpc_client *client;
	struct agent_link *agent;
	struct oom_events *events;
	unsigned told;
	bool burst_is_over, told_again;
};

static void rpc_oom_event(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
			  void *userdata _unused_)
{
	Grpc__OOMEvent event = GRPC__OOMEVENT__INIT;

	event.container_id = (char *)"c1";
	ttrpc_call_reply(call, &event.base);
}

static const struct ttrpc_method methods[] = { { "GetOOMEvent", rpc_oom_event } };
static const struct ttrpc_service service = {
	.descriptor = &grpc__agent_service__descriptor,
	.methods = methods,
	.nmethods = ARRAY_SIZE(methods),
};

static int setup(void **state)
{
	struct bench *bench = xnew(struct bench);
	int pair[2];

	bench->loop = loop_new();
	bench->guest = ttrpc_server_new(bench->loop,
					&(struct ttrpc_server_options){ .userdata = bench });
	ttrpc_server_add(bench->guest, &service);
	assert_int_equal(socket_pair(pair), 0);
	assert_int_equal(ttrpc_server_serve(bench->guest, pair[1], false, &bench->conn), 0);
	bench->client = ttrpc_client_new(bench->loop, pair[0],
					 &(struct ttrpc_client_options){ .first_stream = 1 });
	bench->agent = agent_link_new(bench->loop, bench->client, NULL, NULL);
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	oom_events_free(bench->events);
	agent_link_set(bench->agent, NULL);
	ttrpc_client_free(bench->client);
	agent_link_free(bench->agent);
	ttrpc_server_free(bench->guest);
	loop_free(bench->loop);
	free(bench);
	return 0;
}

static void on_oom(const char *container_id, void *userdata)
{
	struct bench *bench = userdata;

	assert_string_equal(container_id, "c1");
	bench->told++;
	bench->burst_is_over = bench->told >= OOM_BURST;
	bench->told_again = bench->told > OOM_BURST;
}

/* Several containers may run out at once, and each is told of at once. */
static void test_a_flood_is_slowed_down_and_goes_on(void **state)
{
	struct bench *bench = *state;
	const bool never = false;

	bench->events = oom_events_new(bench->loop, bench->agent, on_oom, bench);
	assert_true(loop_run_until(bench->loop, &bench->burst_is_over, DEADLINE_MS));
	(void)loop_run_until(bench->loop, &never, LOOK_MS);
	assert_in_range(bench->told, OOM_BURST, OOM_BURST + 1);
	assert_true(loop_run_until(bench->loop, &bench->told_again, DEADLINE_MS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_flood_is_slowed_down_and_goes_on, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
