#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/loop.h"
#include "base/memory.h"
#include "base/socket.h"

#define DEADLINE_MS 5000

struct fixture {
	struct loop *loop;
	struct loop_timer *timer;
	struct loop_watch *watch;
	struct loop_signal *signal;
	int fds[2];
	char order[32];
	int count;
	bool done;
};

static int setup(void **state)
{
	struct fixture *f = xnew(struct fixture);

	f->loop = loop_new();
	*state = f;
	return socket_pair(f->fds);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	loop_watch_free(f->watch);
	loop_timer_free(f->timer);
	loop_signal_free(f->signal);
	loop_free(f->loop);
	close_fd(f->fds[0]);
	close_fd(f->fds[1]);
	free(f);
	return 0;
}

static void note(struct fixture *f, char c)
{
	f->order[strlen(f->order)] = c;
}

static void set_done(void *userdata)
{
	struct fixture *f = userdata;

	f->done = true;
}

static void stop(void *userdata)
{
	struct fixture *f = userdata;

	loop_stop(f->loop);
}

static void count_timer(void *userdata)
{
	struct fixture *f = userdata;

	if (++f->count < 3)
		loop_timer_start(f->timer, 1);
	else
		f->done = true;
}

static void test_timer_restarts_itself(void **state)
{
	struct fixture *f = *state;

	f->timer = loop_timer_new(f->loop, count_timer, f);
	loop_timer_start(f->timer, 1);
	assert_true(loop_run_until(f->loop, &f->done, DEADLINE_MS));
	assert_int_equal(f->count, 3);
}

static void test_timer_is_not_early(void **state)
{
	struct fixture *f = *state;
	uint64_t start = clock_monotonic_ns();

	f->timer = loop_timer_new(f->loop, set_done, f);
	loop_timer_start(f->timer, 5000);
	loop_timer_start(f->timer, 30);
	assert_true(loop_run_until(f->loop, &f->done, DEADLINE_MS));
	assert_true(clock_monotonic_ns() - start >= UINT64_C(30000000));
}

static void test_timer_stopped(void **state)
{
	struct fixture *f = *state;

	f->timer = loop_timer_new(f->loop, set_done, f);
	loop_timer_start(f->timer, 1);
	loop_timer_stop(f->timer);
	assert_false(loop_run_until(f->loop, &f->done, 20));
	loop_timer_start(f->timer, UINT64_MAX);
	assert_false(loop_run_until(f->loop, &f->done, 5));
}

static void free_timer(void *userdata)
{
	struct fixture *f = userdata;

	loop_timer_free(steal_ptr(f->timer));
	f->done = true;
}

static void test_timer_freed_in_its_callback(void **state)
{
	struct fixture *f = *state;

	f->timer = loop_timer_new(f->loop, free_timer, f);
	loop_timer_start(f->timer, 0);
	assert_true(loop_run_until(f->loop, &f->done, DEADLINE_MS));
}

static void note_c(void *userdata)
{
	note(userdata, 'c');
	set_done(userdata);
}

static void note_a(void *userdata)
{
	struct fixture *f = userdata;

	note(f, 'a');
	loop_defer(f->loop, note_c, f);
	note(f, '-');
}

static void note_b(void *userdata)
{
	note(userdata, 'b');
}

static void test_defer_order(void **state)
{
	struct fixture *f = *state;

	loop_defer(f->loop, note_a, f);
	loop_defer(f->loop, note_b, f);
	assert_string_equal(f->order, "");
	assert_true(loop_run_until(f->loop, &f->done, DEADLINE_MS));
	assert_string_equal(f->order, "a-bc");
}

static void defer_for_ever(void *userdata)
{
	struct fixture *f = userdata;

	if (!f->done)
		loop_defer(f->loop, defer_for_ever, f);
}

static void on_readable(int fd, unsigned events, void *userdata)
{
	struct fixture *f = userdata;
	char c;

	assert_int_equal(events, LOOP_READ);
	assert_int_equal(read(fd, &c, 1), 1);
	f->count++;
	f->done = true;
}

static void test_defer_does_not_starve_io(void **state)
{
	struct fixture *f = *state;

	f->watch = loop_watch_new(f->loop, f->fds[0], LOOP_READ, on_readable, f);
	loop_defer(f->loop, defer_for_ever, f);
	assert_int_equal(write(f->fds[1], "x", 1), 1);
	assert_true(loop_run_until(f->loop, &f->done, DEADLINE_MS));
}

static void test_free_runs_deferred(void **state)
{
	struct fixture *f = *state;

	loop_defer(f->loop, note_a, f);
	loop_free(f->loop);
	f->loop = NULL;
	assert_string_equal(f->order, "a-c");
}

static void test_run_until_stopped(void **state)
{
	struct fixture *f = *state;

	f->timer = loop_timer_new(f->loop, stop, f);
	loop_timer_start(f->timer, 1);
	loop_run(f->loop);
	loop_timer_start(f->timer, 1);
	loop_run(f->loop);
	/* A stop before the run is not lost. */
	loop_stop(f->loop);
	loop_run(f->loop);
	/* It ends a wait as well, and stays for the run after it. */
	loop_timer_start(f->timer, 1);
	assert_false(loop_run_until(f->loop, &f->done, UINT32_MAX));
	loop_run(f->loop);
}

static void test_watch_pauses(void **state)
{
	struct fixture *f = *state;

	f->watch = loop_watch_new(f->loop, f->fds[0], 0, on_readable, f);
	assert_int_equal(write(f->fds[1], "xy", 2), 2);
	assert_false(loop_run_until(f->loop, &f->done, 20));
	loop_watch_set(f->watch, LOOP_READ);
	assert_true(loop_run_until(f->loop, &f->done, DEADLINE_MS));
	f->done = false;
	loop_watch_set(f->watch, 0);
	assert_false(loop_run_until(f->loop, &f->done, 20));
	assert_int_equal(f->count, 1);
}

static void on_edge(int fd _unused_, unsigned events _unused_, void *userdata)
{
	struct fixture *f = userdata;

	f->count++;
}

static void test_watch_edge_reports_once(void **state)
{
	struct fixture *f = *state;

	f->watch = loop_watch_new(f->loop, f->fds[0], LOOP_READ | LOOP_EDGE, on_edge, f);
	assert_int_equal(write(f->fds[1], "x", 1), 1);
	assert_false(loop_run_until(f->loop, &f->done, 20));
	assert_int_equal(f->count, 1);
	/* Asked anew, the level counts again. */
	loop_watch_set(f->watch, 0);
	loop_watch_set(f->watch, LOOP_READ | LOOP_EDGE);
	assert_false(loop_run_until(f->loop, &f->done, 20));
	assert_int_equal(f->count, 2);
}

static void on_free_watch(int fd _unused_, unsigned events, void *userdata)
{
	struct fixture *f = userdata;

	assert_true(events & LOOP_WRITE);
	loop_watch_free(steal_ptr(f->watch));
	f->done = true;
}

static void test_watch_freed_in_its_callback(void **state)
{
	struct fixture *f = *state;

	f->watch = loop_watch_new(f->loop, f->fds[0], LOOP_READ | LOOP_WRITE, on_free_watch, f);
	assert_true(loop_run_until(f->loop, &f->done, DEADLINE_MS));
	assert_null(f->watch);
}

/* epoll refuses regular files, which are always ready. */
static void test_watch_of_a_file(void **state)
{
	struct fixture *f = *state;
	FILE *file = tmpfile();

	assert_non_null(file);
	f->watch = loop_watch_new(f->loop, fileno(file), LOOP_WRITE, on_free_watch, f);
	assert_true(loop_run_until(f->loop, &f->done, DEADLINE_MS));
	assert_null(f->watch);
	fclose(file);
}

static void on_signal(int signo, void *userdata)
{
	struct fixture *f = userdata;

	assert_int_equal(signo, SIGUSR1);
	loop_signal_free(steal_ptr(f->signal));
	f->done = true;
}

static void test_signal_freed_in_its_callback(void **state)
{
	struct fixture *f = *state;

	f->signal = loop_signal_new(f->loop, SIGUSR1, on_signal, f);
	raise(SIGUSR1);
	assert_true(loop_run_until(f->loop, &f->done, DEADLINE_MS));
}

static void test_sigpipe_is_ignored(void **state)
{
	struct fixture *f = *state;

	f->fds[1] = close_fd(f->fds[1]);
	assert_int_equal(write(f->fds[0], "x", 1), -1);
	assert_int_equal(errno, EPIPE);
}

#define LOOP_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOOP_TEST(test_timer_restarts_itself),
		LOOP_TEST(test_timer_is_not_early),
		LOOP_TEST(test_timer_stopped),
		LOOP_TEST(test_timer_freed_in_its_callback),
		LOOP_TEST(test_defer_order),
		LOOP_TEST(test_defer_does_not_starve_io),
		LOOP_TEST(test_free_runs_deferred),
		LOOP_TEST(test_run_until_stopped),
		LOOP_TEST(test_watch_pauses),
		LOOP_TEST(test_watch_edge_reports_once),
		LOOP_TEST(test_watch_freed_in_its_callback),
		LOOP_TEST(test_watch_of_a_file),
		LOOP_TEST(test_signal_freed_in_its_callback),
		LOOP_TEST(test_sigpipe_is_ignored),
	};

	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
