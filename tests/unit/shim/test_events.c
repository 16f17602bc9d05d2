/* Events against a containerd that is slow, refuses, goes away and comes back. */
#include "fake_agent.h"

#include <fcntl.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/log.h"
#include "proto/events.pb-c.h"
#include "proto/events_ttrpc.pb-c.h"
#include "shim/events.h"

struct bench {
	struct loop *loop;
	struct ttrpc_server *containerd;
	struct events *events;
	char dir[32];
	char *path;
	bool hold;
	struct ttrpc_call *held;
	enum ttrpc_code refuse_with;
	struct strbuf got; /* container ids in order of arrival */
	bool drained;
};

static void on_forward(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Containerd__Services__Events__Ttrpc__V1__ForwardRequest *request =
		(const void *)message;
	const ProtobufCBinaryData *data = &request->envelope->event->value;
	struct bench *bench = userdata;
	Containerd__Events__TaskStart *start;

	start = containerd__events__task_start__unpack(NULL, data->len, data->data);
	assert_non_null(start);
	assert_string_equal(request->envelope->topic, "/tasks/start");
	assert_string_equal(ttrpc_call_metadata(call, "containerd-namespace-ttrpc"), "ns1");
	strbuf_addf(&bench->got, "%s ", start->container_id);
	containerd__events__task_start__free_unpacked(start, NULL);
	if (bench->hold)
		bench->held = call;
	else if (bench->refuse_with != TTRPC_OK)
		ttrpc_call_fail_code(call, bench->refuse_with, "refused");
	else
		fake_reply_empty(call);
}

static const struct ttrpc_method methods[] = { { "Forward", on_forward } };

static const struct ttrpc_service service = {
	.descriptor = &containerd__services__events__ttrpc__v1__events__descriptor,
	.methods = methods,
	.nmethods = ARRAY_SIZE(methods),
};

static void containerd_starts(struct bench *bench)
{
	int fd;

	bench->containerd = ttrpc_server_new(bench->loop,
					     &(struct ttrpc_server_options){ .userdata = bench });
	ttrpc_server_add(bench->containerd, &service);
	assert_int_equal(socket_listen_unix(bench->path, 0600, &fd, NULL), 0);
	ttrpc_server_listen(bench->containerd, fd);
}

static void containerd_ends(struct bench *bench)
{
	ttrpc_server_free(steal_ptr(bench->containerd));
	if (bench->held)
		ttrpc_call_drop(steal_ptr(bench->held));
}

static int setup(void **state)
{
	struct bench *bench = xnew(struct bench);

	bench->loop = loop_new();
	strcpy(bench->dir, "/tmp/kiln-test-events.XXXXXX");
	assert_non_null(mkdtemp(bench->dir));
	bench->path = path_join(bench->dir, "c.sock");
	containerd_starts(bench);
	bench->events = events_new(bench->loop, bench->path, "ns1", "s1");
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	events_free(bench->events);
	containerd_ends(bench);
	loop_free(bench->loop);
	strbuf_done(&bench->got);
	assert_int_equal(path_remove(bench->dir, NULL), 0);
	free(bench->path);
	free(bench);
	return 0;
}

static void publish(struct bench *bench, const char *id)
{
	Containerd__Events__TaskStart start = CONTAINERD__EVENTS__TASK_START__INIT;

	start.container_id = (char *)id;
	events_publish(bench->events, &start.base);
}

static void on_drained(void *userdata)
{
	struct bench *bench = userdata;

	assert_false(bench->drained);
	bench->drained = true;
}

static void one_at_a_time_and_in_order(void **state)
{
	struct bench *bench = *state;

	bench->hold = true;
	publish(bench, "a");
	publish(bench, "b");
	publish(bench, "c");
	await(bench->loop, bench->held);
	turn(bench->loop, 20);
	assert_string_equal(strbuf_text(&bench->got), "a ");
	events_drain(bench->events, DEADLINE_MS, on_drained, bench);
	turn(bench->loop, 20);
	assert_false(bench->drained);
	bench->hold = false;
	fake_reply_empty(steal_ptr(bench->held));
	await(bench->loop, bench->drained);
	assert_string_equal(strbuf_text(&bench->got), "a b c ");
}

static void events_wait_for_a_containerd_that_is_away(void **state)
{
	struct bench *bench = *state;

	publish(bench, "a");
	await(bench->loop, bench->got.len == 2);
	containerd_ends(bench);
	publish(bench, "b");
	publish(bench, "c");
	turn(bench->loop, 100);
	containerd_starts(bench);
	await(bench->loop, bench->got.len == 6);
	assert_string_equal(strbuf_text(&bench->got), "a b c ");
}

static void unanswered_event_is_sent_again(void **state)
{
	struct bench *bench = *state;

	bench->hold = true;
	publish(bench, "a");
	await(bench->loop, bench->held);
	containerd_ends(bench);
	bench->hold = false;
	containerd_starts(bench);
	await(bench->loop, bench->got.len == 4);
	assert_string_equal(strbuf_text(&bench->got), "a a ");
}

static void refused_event_does_not_stop_the_rest(void **state)
{
	struct bench *bench = *state;

	bench->refuse_with = TTRPC_INVALID_ARGUMENT;
	publish(bench, "a");
	await(bench->loop, bench->got.len == 2);
	bench->refuse_with = TTRPC_OK;
	publish(bench, "b");
	await(bench->loop, bench->got.len == 4);
	assert_string_equal(strbuf_text(&bench->got), "a b ");
}

static void cancelled_event_is_sent_again(void **state)
{
	struct bench *bench = *state;

	bench->refuse_with = TTRPC_CANCELLED;
	publish(bench, "a");
	publish(bench, "b");
	await(bench->loop, bench->got.len == 2);
	bench->refuse_with = TTRPC_OK;
	await(bench->loop, bench->got.len == 6);
	assert_string_equal(strbuf_text(&bench->got), "a a b ");
}

static void queue_is_bounded_and_keeps_the_newest(void **state)
{
	struct bench *bench = *state;

	bench->hold = true;
	publish(bench, "first");
	await(bench->loop, bench->held);
	publish(bench, "lost");
	for (unsigned i = 0; i < EVENTS_MAX; i++)
		publish(bench, "x");
	bench->hold = false;
	fake_reply_empty(steal_ptr(bench->held));
	events_drain(bench->events, DEADLINE_MS, on_drained, bench);
	await(bench->loop, bench->drained);
	assert_int_equal(bench->got.len, strlen("first ") + 2 * EVENTS_MAX);
	assert_null(strstr(strbuf_text(&bench->got), "lost"));
}

static void drain_gives_up_in_time(void **state)
{
	struct bench *bench = *state;

	containerd_ends(bench);
	publish(bench, "a");
	events_drain(bench->events, 100, on_drained, bench);
	await(bench->loop, bench->drained);
}

static void without_containerd_nothing_waits(void **state)
{
	struct bench *bench = *state;

	events_free(bench->events);
	bench->events = events_new(bench->loop, NULL, "ns1", "s1");
	publish(bench, "a");
	events_drain(bench->events, DEADLINE_MS, on_drained, bench);
	await(bench->loop, bench->drained);
}

static void freed_while_it_drains_it_tells_nobody(void **state)
{
	struct bench *bench = *state;

	events_drain(bench->events, DEADLINE_MS, on_drained, bench);
	events_free(steal_ptr(bench->events));
	turn(bench->loop, 10);
	assert_false(bench->drained);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(one_at_a_time_and_in_order),
		T(events_wait_for_a_containerd_that_is_away),
		T(unanswered_event_is_sent_again),
		T(refused_event_does_not_stop_the_rest),
		T(cancelled_event_is_sent_again),
		T(queue_is_bounded_and_keeps_the_newest),
		T(drain_gives_up_in_time),
		T(without_containerd_nothing_waits),
		T(freed_while_it_drains_it_tells_nobody),
	};

	log_init("test", open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
