/* The QMP client against a scripted monitor, and against a real QEMU. */
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "proto/qmp.h"
#include "scripted_peer.h"

#define GREETING                                                                                   \
	"{\"QMP\": {\"version\": {\"qemu\": {\"major\": 7}}, \"capabilities\": [\"oob\"]}}\r\n"
#define MIB (1u << 20)

struct fixture;

struct outcome {
	struct fixture *f;
	unsigned calls;
	bool done;
	int number;
	char sentence[256];
	json_t *result;
	bool free_qmp;
	bool again;
};

struct fixture {
	struct loop *loop;
	struct qmp *qmp;
	struct peer_end *peer;
	bool ready;
	unsigned ended;
	bool end_seen;
	int end_reason;
	unsigned answered_before_end;
	unsigned events;
	bool event_seen;
	char event[64];
	json_t *event_data;
	bool free_on_event;
	struct outcome outcome;
};

static void on_ready(struct qmp *qmp, void *userdata)
{
	(void)qmp;
	((struct fixture *)userdata)->ready = true;
}

static void on_event(struct qmp *qmp, const char *event, json_t *data, void *userdata)
{
	struct fixture *f = userdata;

	f->events++;
	f->event_seen = true;
	snprintf(f->event, sizeof(f->event), "%s", event);
	json_decref(f->event_data);
	f->event_data = json_incref(data);
	if (f->free_on_event) {
		qmp_free(qmp);
		f->qmp = NULL;
	}
}

static void on_end(struct qmp *qmp, int reason, void *userdata)
{
	struct fixture *f = userdata;

	(void)qmp;
	f->ended++;
	f->end_seen = true;
	f->end_reason = reason;
	f->answered_before_end = f->outcome.calls;
}

static void on_reply(int number, json_t *result, const struct error *err, void *userdata)
{
	struct outcome *outcome = userdata;

	outcome->calls++;
	outcome->done = true;
	outcome->number = number;
	assert_int_equal(number != 0, err != NULL);
	if (err) {
		assert_int_equal(err->number, -number);
		assert_null(result);
		snprintf(outcome->sentence, sizeof(outcome->sentence), "%s", error_message(err));
	}
	json_decref(outcome->result);
	outcome->result = json_incref(result);
	if (outcome->again)
		qmp_command(outcome->f->qmp, "again", NULL, 0, on_reply, outcome);
	if (outcome->free_qmp)
		qmp_free(steal_ptr(outcome->f->qmp));
}

static struct fixture *fixture_new(int monitor_fd)
{
	struct fixture *f = xnew(struct fixture);
	struct qmp_options options = {
		.on_ready = on_ready,
		.on_event = on_event,
		.on_end = on_end,
		.userdata = f,
	};

	f->loop = loop_new();
	f->outcome.f = f;
	f->qmp = qmp_new(f->loop, monitor_fd, &options);
	return f;
}

static int setup(void **state)
{
	struct fixture *f;
	int fds[2];

	assert_int_equal(socket_pair(fds), 0);
	f = fixture_new(fds[0]);
	f->peer = peer_new(f->loop, fds[1]);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->outcome.again = false;
	qmp_free(f->qmp);
	if (f->peer)
		peer_free(f->peer);
	json_decref(f->event_data);
	json_decref(f->outcome.result);
	loop_free(f->loop);
	free(f);
	return 0;
}

/* ---------------------------------------------------------------- the scripted monitor */

static void say(struct fixture *f, const char *text)
{
	peer_send(f->peer, text, strlen(text));
}

/* The next line that the monitor got, as JSON; the caller releases it. */
static json_t *await_command(struct fixture *f, const char *name)
{
	const char *end;

	peer_await_bytes(f->peer, 1);
	while (!(end = memchr(f->peer->received.text, '\n', f->peer->received.len)))
		peer_await_bytes(f->peer, f->peer->received.len + 1);
	size_t len = (size_t)(end - f->peer->received.text);
	json_t *command = json_loadb(f->peer->received.text, len, 0, NULL);
	assert_non_null(command);
	assert_string_equal(json_string_value(json_object_get(command, "execute")), name);
	peer_drop_front(f->peer, len + 1);
	return command;
}

static void expect_command(struct fixture *f, const char *name)
{
	json_decref(await_command(f, name));
}

static void greet(struct fixture *f)
{
	say(f, GREETING);
	expect_command(f, "qmp_capabilities");
	say(f, "{\"return\": {}}\r\n");
	turn_until(f->loop, &f->ready);
}

static void command(struct fixture *f, const char *name, unsigned timeout_ms)
{
	f->outcome.calls = 0;
	f->outcome.done = false;
	qmp_command(f->qmp, name, NULL, timeout_ms, on_reply, &f->outcome);
	assert_int_equal(f->outcome.calls, 0);
}

static void expect_result(struct fixture *f)
{
	turn_until(f->loop, &f->outcome.done);
	assert_int_equal(f->outcome.calls, 1);
	assert_int_equal(f->outcome.number, 0);
	assert_non_null(f->outcome.result);
}

static void expect_failed(struct fixture *f, int number, const char *part)
{
	turn_until(f->loop, &f->outcome.done);
	assert_int_equal(f->outcome.calls, 1);
	assert_int_equal(f->outcome.number, number);
	if (!strstr(f->outcome.sentence, part))
		fail_msg("\"%s\" does not say \"%s\"", f->outcome.sentence, part);
}

/* ---------------------------------------------------------------- tests */

static void commands_wait_for_the_negotiation(void **state)
{
	struct fixture *f = *state;

	command(f, "query-status", 0);
	turn(f->loop);
	assert_int_equal(f->peer->received.len, 0);
	greet(f);
	json_t *sent = await_command(f, "query-status");
	assert_int_equal(json_integer_value(json_object_get(sent, "id")), 1);
	assert_null(json_object_get(sent, "arguments"));
	json_decref(sent);
	say(f, "{\"return\": {\"running\": true}, \"id\": 1}\r\n");
	expect_result(f);
	assert_true(json_is_true(json_object_get(f->outcome.result, "running")));
}

static void answers_find_their_command_by_id(void **state)
{
	struct fixture *f = *state;
	struct outcome outcomes[3] = {};

	greet(f);
	for (unsigned i = 0; i < 3; i++) {
		qmp_command(f->qmp, "x", json_pack("{s:i}", "n", i), 0, on_reply, &outcomes[i]);
		json_t *sent = await_command(f, "x");
		json_t *arguments = json_object_get(sent, "arguments");
		assert_int_equal(json_integer_value(json_object_get(arguments, "n")), i);
		json_decref(sent);
	}
	say(f, "{\"return\": 30, \"id\": 3}\n{\"return\": 20, \"id\": 2}\r\n"
	       "{\"return\": 10, \"id\": 1}\n");
	for (unsigned i = 0; i < 3; i++) {
		turn_until(f->loop, &outcomes[i].done);
		assert_int_equal(json_integer_value(outcomes[i].result), 10 * (i + 1));
		json_decref(outcomes[i].result);
	}
}

static void a_refusal_is_qemus_sentence(void **state)
{
	struct fixture *f = *state;

	greet(f);
	command(f, "nonsense", 0);
	say(f,
	    "{\"id\": 1, \"error\": {\"class\": \"CommandNotFound\", \"desc\": \"no way\"}}\r\n");
	expect_failed(f, -EIO, "no way");
	command(f, "nonsense", 0);
	say(f, "{\"id\": 2, \"error\": {}}\r\n");
	expect_failed(f, -EIO, "no reason");
}

static void answers_to_nothing_are_ignored(void **state)
{
	struct fixture *f = *state;

	greet(f);
	command(f, "x", 0);
	say(f, "{\"return\": 1}\n{\"return\": 1, \"id\": 99}\n{\"return\": 1, \"id\": \"1\"}\n"
	       "{\"error\": {\"desc\": \"who?\"}}\n\n  \n{}\n{\"unheard\": \"of\"}\n");
	turn(f->loop);
	assert_int_equal(f->outcome.calls, 0);
	say(f, "{\"return\": 2, \"id\": 1}\n");
	expect_result(f);
}

static void events_are_told(void **state)
{
	struct fixture *f = *state;

	greet(f);
	say(f, "{\"event\": \"STOP\", \"timestamp\": {\"seconds\": 1, \"microseconds\": 2}}\r\n");
	turn_until(f->loop, &f->event_seen);
	assert_string_equal(f->event, "STOP");
	assert_null(f->event_data);
	f->event_seen = false;
	say(f, "{\"event\": \"MIGRATION\", \"data\": {\"status\": \"completed\"}}\r\n");
	turn_until(f->loop, &f->event_seen);
	assert_string_equal(json_string_value(json_object_get(f->event_data, "status")),
			    "completed");
}

static void lines_may_come_in_pieces(void **state)
{
	static const char all[] = GREETING
		"{\"return\": {}}\r\n{\"event\": \"A\"}\n{\"return\": {}, \"id\": 1}\n";

	for (size_t split = 0; split < sizeof(all); split++) {
		teardown(state);
		setup(state);
		struct fixture *f = *state;
		command(f, "x", 0);
		peer_send(f->peer, all, split);
		turn(f->loop);
		peer_send(f->peer, all + split, sizeof(all) - 1 - split);
		turn_until(f->loop, &f->outcome.done);
		assert_int_equal(f->events, 1);
		assert_true(f->ready);
	}
}

static void a_command_has_a_timeout_and_its_late_answer_is_dropped(void **state)
{
	struct fixture *f = *state;

	greet(f);
	command(f, "slow", 20);
	expect_failed(f, -ETIMEDOUT, "did not answer slow within 20 ms");
	say(f, "{\"return\": {}, \"id\": 1}\n");
	turn(f->loop);
	assert_int_equal(f->outcome.calls, 1);
	command(f, "next", 5000);
	say(f, "{\"return\": {}, \"id\": 2}\n");
	expect_result(f);
}

static void a_silent_monitor_times_commands_out_too(void **state)
{
	struct fixture *f = *state;

	command(f, "waiting", 10);
	expect_failed(f, -ETIMEDOUT, "waiting");
	greet(f);
	turn(f->loop);
	assert_int_equal(f->peer->received.len, 0); /* it is not sent any more */
}

static void a_command_that_is_cancelled_is_not_called_back(void **state)
{
	struct fixture *f = *state;
	struct outcome cancelled = {};

	/* Not sent yet: it is not sent any more. */
	qmp_pending_cancel(qmp_command(f->qmp, "x", NULL, 0, on_reply, &cancelled));
	greet(f);
	struct qmp_pending *pending = qmp_command(f->qmp, "y", NULL, 0, on_reply, &cancelled);

	json_decref(await_command(f, "y"));
	qmp_pending_cancel(pending);
	qmp_pending_cancel(NULL);
	command(f, "z", 0);
	say(f, "{\"return\": 1, \"id\": 2}\n{\"return\": 2, \"id\": 3}\n");
	expect_result(f);
	assert_int_equal(json_integer_value(f->outcome.result), 2);

	peer_free(steal_ptr(f->peer));
	turn_until(f->loop, &f->end_seen);
	qmp_pending_cancel(qmp_command(f->qmp, "too late", NULL, 0, on_reply, &cancelled));
	command(f, "too late", 0);
	expect_failed(f, -ENOTCONN, "monitor is gone");
	assert_int_equal(cancelled.calls, 0);
}

static void the_end_answers_every_command(void **state)
{
	struct fixture *f = *state;

	greet(f);
	command(f, "x", 0);
	peer_free(steal_ptr(f->peer));
	turn_until(f->loop, &f->end_seen);
	expect_failed(f, -ENOTCONN, "x was not answered");
	assert_int_equal(f->answered_before_end, 1);
	assert_int_equal(f->end_reason, 0);
	command(f, "too late", 0);
	expect_failed(f, -ENOTCONN, "monitor is gone");
	assert_int_equal(f->ended, 1);
}

static void repeating_a_failed_command_does_not_hang(void **state)
{
	struct fixture *f = *state;

	f->outcome.again = true;
	command(f, "x", 0);
	peer_free(steal_ptr(f->peer));
	turn_until(f->loop, &f->end_seen);
	for (unsigned i = 0; i < 10; i++)
		turn(f->loop);
	assert_true(f->outcome.calls > 5);
}

static void freeing_cancels_what_is_in_flight(void **state)
{
	struct fixture *f = *state;

	greet(f);
	command(f, "x", 1000);
	qmp_free(steal_ptr(f->qmp));
	assert_int_equal(f->outcome.number, -ECANCELED);
	assert_int_equal(f->ended, 0);
	peer_await_end(f->peer);
}

static void a_callback_may_free_the_monitor(void **state)
{
	struct fixture *f = *state;

	greet(f);
	f->outcome.free_qmp = true;
	command(f, "x", 1000);
	say(f, "{\"return\": {}, \"id\": 1}\n{\"event\": \"LATER\"}\n");
	expect_result(f);
	turn(f->loop);
	assert_int_equal(f->events, 0);
}

static void an_event_callback_may_free_the_monitor(void **state)
{
	struct fixture *f = *state;

	greet(f);
	f->free_on_event = true;
	command(f, "x", 1000);
	say(f, "{\"event\": \"FIRST\"}\n{\"event\": \"SECOND\"}\n");
	turn_until(f->loop, &f->event_seen);
	turn(f->loop);
	assert_int_equal(f->events, 1);
	assert_int_equal(f->outcome.number, -ECANCELED);
}

static void garbage_ends_the_connection(void **state)
{
	static const char *const lines[] = {
		"no json\n",
		"[]\n",
		"1\n",
		"{\"QMP\": {}\n",
		"{\"return\": {}}\n", /* before the greeting */
		"{\"a\": \"\xff\"}\n",
		GREETING "{\"error\": {\"desc\": \"no capabilities today\"}}\n",
		GREETING GREETING,
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		teardown(state);
		setup(state);
		struct fixture *f = *state;
		command(f, "x", 0);
		say(f, lines[i]);
		turn_until(f->loop, &f->end_seen);
		assert_int_equal(f->end_reason, -EPROTO);
		expect_failed(f, -ENOTCONN, "x was not answered");
		peer_await_end(f->peer);
	}
}

/* As much as it takes until it ends the connection; the bytes that went. */
static size_t flood(struct fixture *f, const char *text, size_t size, size_t max)
{
	size_t sent = 0;

	while (sent < max && !f->end_seen) {
		ssize_t n = send(f->peer->fd, text, size, MSG_DONTWAIT | MSG_NOSIGNAL);
		sent += n > 0 ? (size_t)n : 0;
		turn(f->loop);
	}
	return sent;
}

static void a_long_line_is_read_and_an_endless_one_is_not(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *spaces = xcalloc(MIB, 1);

	greet(f);
	memset(spaces, ' ', MIB - 64);
	command(f, "x", 0);
	say(f, "{\"id\": 1,");
	say(f, spaces);
	say(f, "\"return\": {}}\r\n");
	expect_result(f);
	command(f, "x", 0);
	memset(spaces, ' ', MIB);
	assert_true(flood(f, spaces, MIB, 64 * MIB) < 4 * MIB);
	turn_until(f->loop, &f->end_seen);
	assert_int_equal(f->end_reason, -EMSGSIZE);
	expect_failed(f, -ENOTCONN, "");
}

static int64_t cpu_us_of_pieces(struct fixture *f, size_t bytes)
{
	char piece[32];
	struct timespec before, after;

	memset(piece, ' ', sizeof(piece));
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
	for (size_t sent = 0; sent < bytes; sent += sizeof(piece)) {
		peer_send(f->peer, piece, sizeof(piece));
		turn(f->loop);
	}
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
	return (after.tv_sec - before.tv_sec) * 1000000 + (after.tv_nsec - before.tv_nsec) / 1000;
}

/* The last pieces of a long line cost no more than the first ones. */
static void a_line_in_small_pieces_is_searched_once(void **state)
{
	struct fixture *f = *state;

	greet(f);
	int64_t first = cpu_us_of_pieces(f, MIB / 8);
	(void)cpu_us_of_pieces(f, MIB / 2 + MIB / 4);
	int64_t last = cpu_us_of_pieces(f, MIB / 8 - 64);
	assert_int_equal(f->ended, 0);
	assert_in_range(last, 1, 5 * first / 2);
	command(f, "x", 0);
	say(f, "{\"id\": 1, \"return\": {}}\n");
	expect_result(f);
}

static void an_answer_counts_once(void **state)
{
	struct fixture *f = *state;

	greet(f);
	command(f, "x", 0);
	say(f, "{\"return\": 1, \"id\": 1}\n{\"return\": 2, \"id\": 1}\n"
	       "{\"error\": {\"desc\": \"no\"}, \"id\": 1}\n{\"return\": 3, \"id\": 2}\n");
	expect_result(f);
	turn(f->loop);
	assert_int_equal(f->outcome.calls, 1);
	assert_int_equal(json_integer_value(f->outcome.result), 1);
	/* The answer to what was not asked yet is none. */
	command(f, "y", 20);
	expect_failed(f, -ETIMEDOUT, "y");
}

static void complaints_are_logged_once(void **state)
{
	struct fixture *f = *state;
	static const char complaint[] = "{\"error\": {\"desc\": \"\\u009b31m who?\"}}\n";
	char text[4096];
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	log_init("kiln", fds[1], LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	greet(f);
	for (unsigned i = 0; i < 1000; i++)
		peer_send(f->peer, complaint, sizeof(complaint) - 1);
	command(f, "x", 0);
	say(f, "{\"return\": 1, \"id\": 1}\n");
	expect_result(f);
	ssize_t len = read(fds[0], text, sizeof(text));
	log_init("kiln", STDERR_FILENO, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	close(fds[0]);
	close(fds[1]);
	assert_true(len > 0 && len < 400);
	assert_non_null(memmem(text, (size_t)len, "\\xc2\\x9b31m who?", 16));
}

/* Others on the loop have their turn, and so have answers. */
static void a_flood_of_events_keeps_nobody(void **state)
{
	struct fixture *f = *state;
	_cleanup_(strbuf_done) struct strbuf events = {};
	struct outcome timed_out = {};

	for (unsigned i = 0; i < 4000; i++)
		strbuf_adds(&events, "{\"event\": \"STOP\", \"data\": {\"a\": [1, 2]}}\n");
	greet(f);
	qmp_command(f->qmp, "never", NULL, 50, on_reply, &timed_out);
	command(f, "x", 0);
	for (unsigned i = 0; i < 200 && !timed_out.done; i++)
		peer_send(f->peer, events.text, events.len);
	turn_until(f->loop, &timed_out.done);
	assert_int_equal(timed_out.number, -ETIMEDOUT);
	say(f, "{\"return\": 1, \"id\": 2}\n");
	expect_result(f);
	assert_true(f->events >= 4000);
}

static void it_may_close_at_each_byte(void **state)
{
	static const char all[] = GREETING
		"{\"return\": {}}\r\n{\"event\": \"A\"}\n{\"return\": {}, \"id\": 1}\n";

	for (size_t cut = 0; cut < sizeof(all) - 1; cut++) {
		teardown(state);
		setup(state);
		struct fixture *f = *state;
		command(f, "x", 0);
		peer_send(f->peer, all, cut);
		turn(f->loop);
		peer_free(steal_ptr(f->peer));
		turn_until(f->loop, &f->end_seen);
		expect_failed(f, -ENOTCONN, "x was not answered");
		assert_int_equal(f->ended, 1);
	}
}

static void a_line_of_too_many_values_is_not_read(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *line = xcalloc(MIB + 3, 1);

	greet(f);
	memset(line, '[', MIB);
	line[MIB] = '\n';
	say(f, line);
	turn_until(f->loop, &f->end_seen);
	assert_int_equal(f->end_reason, -EMSGSIZE);
}

static void descriptors_travel_with_their_command(void **state)
{
	struct fixture *f = *state;
	int fds[] = { open("/dev/null", O_RDONLY | O_CLOEXEC),
		      open("/dev/null", O_RDONLY | O_CLOEXEC) };

	qmp_command_fds(f->qmp, "getfd", json_pack("{s:s}", "fdname", "a"), fds, 2, 0, on_reply,
			&f->outcome);
	greet(f);
	assert_int_equal(f->peer->nfds, f->peer->received.len > 0 ? 2 : 0);
	expect_command(f, "getfd");
	assert_int_equal(f->peer->nfds, 2);

	/* What was sent is closed here, once: the peer's are likely to have the same numbers. */
	say(f, "{\"return\": {}, \"id\": 1}\n");
	expect_result(f);
	turn(f->loop);
	assert_true(fcntl(f->peer->fds[0], F_GETFD) >= 0);
	assert_true(fcntl(f->peer->fds[1], F_GETFD) >= 0);

	int unsent = open("/dev/null", O_RDONLY | O_CLOEXEC);
	peer_free(steal_ptr(f->peer));
	turn_until(f->loop, &f->end_seen);
	qmp_command_fds(f->qmp, "getfd", NULL, &unsent, 1, 0, NULL, NULL);
	turn(f->loop);
	assert_int_equal(fcntl(unsent, F_GETFD), -1);
}

/* ---------------------------------------------------------------- real QEMU */

static pid_t qemu_start(int monitor_fd)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves nothing behind */
		dup2(monitor_fd, 3);
		execlp("qemu-system-x86_64", "qemu-system-x86_64", "-machine", "none",
		       "-nodefaults", "-display", "none", "-chardev", "socket,id=q,fd=3", "-mon",
		       "chardev=q,mode=control", (char *)NULL);
		_exit(127);
	}
	return pid;
}

static void a_real_qemu_understands_us(void **state)
{
	struct fixture *f;
	int fds[2];

	assert_int_equal(socket_pair(fds), 0);
	pid_t pid = qemu_start(fds[1]);
	assert_true(pid > 0);
	close_fd(fds[1]);
	f = fixture_new(fds[0]);

	command(f, "query-version", 10000);
	expect_result(f);
	json_t *version = json_object_get(f->outcome.result, "qemu");
	assert_true(json_integer_value(json_object_get(version, "major")) >= 7);

	command(f, "no-such-command", 10000);
	expect_failed(f, -EIO, "no-such-command has not been found");

	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	f->outcome.calls = 0;
	f->outcome.done = false;
	qmp_command_fds(f->qmp, "add-fd", json_pack("{s:i}", "fdset-id", 7), &fd, 1, 10000,
			on_reply, &f->outcome);
	expect_result(f);
	assert_int_equal(json_integer_value(json_object_get(f->outcome.result, "fdset-id")), 7);
	command(f, "query-fdsets", 10000);
	expect_result(f);
	assert_int_equal(json_array_size(f->outcome.result), 1);

	/* Many at once, each with its own descriptor: none may be swapped or lost. */
	for (int i = 0; i < 20; i++) {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
		qmp_command_fds(f->qmp, "add-fd", json_pack("{s:i}", "fdset-id", 100 + i), &fd, 1,
				10000, NULL, NULL);
	}
	command(f, "query-fdsets", 10000);
	expect_result(f);
	assert_int_equal(json_array_size(f->outcome.result), 21);

	command(f, "quit", 10000);
	expect_result(f);
	turn_until(f->loop, &f->end_seen);
	assert_string_equal(f->event, "SHUTDOWN");
	int status = -1;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	*state = f;
	teardown(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(commands_wait_for_the_negotiation),
		TEST(answers_find_their_command_by_id),
		TEST(a_refusal_is_qemus_sentence),
		TEST(answers_to_nothing_are_ignored),
		TEST(events_are_told),
		TEST(lines_may_come_in_pieces),
		TEST(a_command_has_a_timeout_and_its_late_answer_is_dropped),
		TEST(a_silent_monitor_times_commands_out_too),
		TEST(a_command_that_is_cancelled_is_not_called_back),
		TEST(the_end_answers_every_command),
		TEST(repeating_a_failed_command_does_not_hang),
		TEST(freeing_cancels_what_is_in_flight),
		TEST(a_callback_may_free_the_monitor),
		TEST(an_event_callback_may_free_the_monitor),
		TEST(garbage_ends_the_connection),
		TEST(a_long_line_is_read_and_an_endless_one_is_not),
		TEST(a_line_in_small_pieces_is_searched_once),
		TEST(an_answer_counts_once),
		TEST(complaints_are_logged_once),
		TEST(a_flood_of_events_keeps_nobody),
		TEST(it_may_close_at_each_byte),
		TEST(a_line_of_too_many_values_is_not_read),
		TEST(descriptors_travel_with_their_command),
		cmocka_unit_test(a_real_qemu_understands_us),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
