/* What the guest is told of the host's room, by the file system that the test itself is on. */
#include "played_guest.h"

#include "proto/guest.pb-c.h"
#include "shim/scratch_watch.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

enum { QUIET_MS = 300 };

struct bench {
	struct played_guest guest;
	struct scratch_watch *watch;
	uint64_t told;
	unsigned calls;
	bool called;
	struct ttrpc_call *held; /* an agent that does not answer */
};

static void on_room(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	struct bench *bench = userdata;

	bench->told = ((const Kiln__Guest__V1__SetScratchRoomRequest *)message)->bytes;
	bench->calls++;
	bench->called = true;
	bench->held = call;
}

static void answer(struct bench *bench)
{
	Kiln__Guest__V1__SetScratchRoomResponse response =
		KILN__GUEST__V1__SET_SCRATCH_ROOM_RESPONSE__INIT;

	ttrpc_call_reply(steal_ptr(bench->held), &response.base);
}

static const struct ttrpc_method methods[] = { { "SetScratchRoom", on_room } };
static const struct ttrpc_service service = {
	.descriptor = &kiln__guest__v1__guest__descriptor,
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

	scratch_watch_free(bench->watch);
	if (bench->held)
		answer(bench);
	played_guest_end(&bench->guest);
	free(bench);
	return 0;
}

static void watch(struct bench *bench, const char *dir, uint64_t disk_bytes)
{
	bench->watch = scratch_watch_new(&(struct scratch_watch_options){
		.loop = bench->guest.loop,
		.agent = bench->guest.link,
		.sandbox_id = "pod",
		.dir = dir,
		.disk_bytes = disk_bytes,
	});
}

/* ---------------------------------------------------------------- the figures */

static void test_the_margin_is_a_fiftieth_within_bounds(void **state _unused_)
{
	assert_int_equal(scratch_watch_room(10 * GIB, 5 * GIB), 5 * GIB - 10 * GIB / 50);
	assert_int_equal(scratch_watch_room(400 * MIB, 300 * MIB), 236 * MIB);
	assert_int_equal(scratch_watch_room(1000 * GIB, 10 * GIB), 9 * GIB);
	assert_int_equal(scratch_watch_room(400 * MIB, 64 * MIB), 0);
	assert_int_equal(scratch_watch_room(0, 0), 0);
}

static void test_looks_more_often_near_the_end(void **state _unused_)
{
	assert_int_equal(scratch_watch_interval(UINT64_MAX), 5000);
	assert_in_range(scratch_watch_interval(2 * GIB), 990, 1010);
	assert_int_equal(scratch_watch_interval(MIB), 100);
	assert_int_equal(scratch_watch_interval(0), 1000);
}

/* ---------------------------------------------------------------- the guest */

static void test_a_disk_the_host_has_room_for_is_not_talked_about(void **state)
{
	struct bench *bench = *state;

	watch(bench, "/tmp", 1);
	assert_false(loop_run_until(bench->guest.loop, &bench->called, QUIET_MS));
}

static void test_a_disk_larger_than_the_host_is_told_of(void **state)
{
	struct bench *bench = *state;

	watch(bench, "/tmp", UINT64_MAX);
	assert_true(loop_run_until(bench->guest.loop, &bench->called, DEADLINE_MS));
	assert_in_range(bench->told, 0, UINT64_MAX - 1);
	answer(bench);
}

/* /proc has no blocks at all, so it is as full as can be. */
static void test_one_call_at_a_time_to_an_agent_that_does_not_answer(void **state)
{
	struct bench *bench = *state;

	watch(bench, "/proc", GIB);
	assert_true(loop_run_until(bench->guest.loop, &bench->called, DEADLINE_MS));
	assert_int_equal(bench->told, 0);
	bench->called = false;
	assert_false(loop_run_until(bench->guest.loop, &bench->called, QUIET_MS));
	assert_int_equal(bench->calls, 1);
	/* Its end does not wait for the answer; the teardown lets that come. */
	scratch_watch_free(steal_ptr(bench->watch));
}

static void test_a_folder_that_is_not_there_is_not_watched(void **state)
{
	struct bench *bench = *state;

	watch(bench, "/nowhere/scratch", GIB);
	assert_null(bench->watch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_margin_is_a_fiftieth_within_bounds),
		cmocka_unit_test(test_looks_more_often_near_the_end),
		cmocka_unit_test_setup_teardown(
			test_a_disk_the_host_has_room_for_is_not_talked_about, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_disk_larger_than_the_host_is_told_of, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
			test_one_call_at_a_time_to_an_agent_that_does_not_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_folder_that_is_not_there_is_not_watched,
						setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
