/* A guest that always has another container that ran out of memory. */
#include "played_guest.h"

#include "shim/oom_events.h"

enum { LOOK_MS = 300 };

struct bench {
	struct played_guest guest;
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

	played_guest_start(&bench->guest, &service, bench);
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	oom_events_free(bench->events);
	played_guest_end(&bench->guest);
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

	bench->events = oom_events_new(bench->guest.loop, bench->guest.link, on_oom, bench);
	assert_true(loop_run_until(bench->guest.loop, &bench->burst_is_over, DEADLINE_MS));
	(void)loop_run_until(bench->guest.loop, &never, LOOK_MS);
	assert_in_range(bench->told, OOM_BURST, OOM_BURST + 1);
	assert_true(loop_run_until(bench->guest.loop, &bench->told_again, DEADLINE_MS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_flood_is_slowed_down_and_goes_on, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
