/* Setting the guest's clock: a slow answer is followed by another call. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* After what it needs. */
#include <cmocka.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/socket.h"
#include "factory/guest/guest_clock.h"
#include "proto/agent.pb-c.h"
#include "proto/ttrpc_server.h"

enum { SLOW_MS = 60, SETTLE_MS = 300 };

/* The agent; the first `slow` answers are late. */
struct guest {
	struct loop *loop;
	struct ttrpc_server *server;
	struct ttrpc_client *client;
	struct loop_timer *timer;
	struct ttrpc_call *held;
	unsigned slow, calls;
	int64_t off_us; /* of the last time that came */
	bool fails, never;
};

static void answer(void *userdata)
{
	struct guest *guest = userdata;
	Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;

	if (guest->fails)
		ttrpc_call_fail_code(steal_ptr(guest->held), TTRPC_INTERNAL, "no clock");
	else
		ttrpc_call_reply(steal_ptr(guest->held), &empty.base);
}

static void on_set_clock(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Grpc__SetGuestDateTimeRequest *request = (const void *)message;
	struct guest *guest = userdata;

	guest->held = call;
	guest->off_us = request->sec * 1000000 + request->usec -
			(int64_t)(clock_realtime_ns() / 1000);
	if (guest->calls++ < guest->slow)
		loop_timer_start(guest->timer, SLOW_MS);
	else
		answer(guest);
}

static int setup(void **state)
{
	static const struct ttrpc_method methods[] = { { "SetGuestDateTime", on_set_clock } };
	struct guest *guest = xnew(struct guest);
	struct ttrpc_server_options options = { .userdata = guest };
	struct ttrpc_conn *conn;
	int fds[2];

	guest->loop = loop_new();
	guest->timer = loop_timer_new(guest->loop, answer, guest);
	guest->server = ttrpc_server_new(guest->loop, &options);
	ttrpc_server_add(guest->server,
			 &(struct ttrpc_service){ .descriptor = &grpc__agent_service__descriptor,
						  .methods = methods,
						  .nmethods = ARRAY_SIZE(methods) });
	if (socket_pair(fds) < 0 || ttrpc_server_serve(guest->server, fds[0], false, &conn) < 0)
		return -1;
	guest->client = ttrpc_client_new(guest->loop, fds[1], &(struct ttrpc_client_options){});
	*state = guest;
	return 0;
}

static int teardown(void **state)
{
	struct guest *guest = *state;

	ttrpc_client_free(guest->client);
	loop_timer_free(guest->timer);
	if (guest->held)
		ttrpc_call_drop(guest->held);
	ttrpc_server_free(guest->server);
	loop_free(guest->loop);
	free(guest);
	return 0;
}

static void set_and_settle(struct guest *guest)
{
	guest_clock_set(guest->client, "vm1");
	(void)loop_run_until(guest->loop, &guest->never, SETTLE_MS + guest->slow * SLOW_MS);
}

static void test_one_quick_call_is_enough(void **state)
{
	struct guest *guest = *state;

	set_and_settle(guest);
	assert_int_equal(guest->calls, 1);
	assert_true(guest->off_us <= 0 && guest->off_us > -1000000);
}

static void test_slow_ones_are_repeated(void **state)
{
	struct guest *guest = *state;

	guest->slow = 2;
	set_and_settle(guest);
	assert_int_equal(guest->calls, 3);
}

static void test_repeating_ends(void **state)
{
	struct guest *guest = *state;

	guest->slow = 100;
	guest_clock_set(guest->client, "vm1");
	(void)loop_run_until(guest->loop, &guest->never, 8 * SLOW_MS + SETTLE_MS);
	assert_int_equal(guest->calls, 5);
}

static void test_a_refusal_is_not_repeated(void **state)
{
	struct guest *guest = *state;

	guest->fails = true;
	guest->slow = 1;
	set_and_settle(guest);
	assert_int_equal(guest->calls, 1);
}

/* The teardown frees the client under the call. */
static void test_client_goes_in_between(void **state)
{
	struct guest *guest = *state;

	guest->slow = 1;
	guest_clock_set(guest->client, "vm1");
	(void)loop_run_until(guest->loop, &guest->never, SLOW_MS / 3);
	assert_int_equal(guest->calls, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_one_quick_call_is_enough, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slow_ones_are_repeated, setup, teardown),
		cmocka_unit_test_setup_teardown(test_repeating_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_refusal_is_not_repeated, setup, teardown),
		cmocka_unit_test_setup_teardown(test_client_goes_in_between, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
