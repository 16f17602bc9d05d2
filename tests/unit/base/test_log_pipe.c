/* A program that writes as much as it can, and readers that come and go. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log_pipe.h"
#include "base/memory.h"

struct bench {
	struct loop *loop;
	char dir[32];
	char *path;
	int program; /* its stderr */
};

static int setup(void **state)
{
	struct bench *bench = xnew(struct bench);

	bench->loop = loop_new();
	snprintf(bench->dir, sizeof(bench->dir), "/tmp/kiln-test.XXXXXX");
	assert_non_null(mkdtemp(bench->dir));
	bench->path = path_join(bench->dir, "log");
	assert_int_equal(log_pipe_open(bench->path, &bench->program, NULL), 0);
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	close(bench->program);
	loop_free(bench->loop);
	assert_int_equal(path_remove(bench->dir, NULL), 0);
	free(bench->path);
	free(bench);
	return 0;
}

/* How many of these lines were taken. */
static unsigned say(struct bench *bench, unsigned from, unsigned to)
{
	unsigned taken = 0;

	for (unsigned i = from; i < to; i++) {
		char line[64];
		int len = snprintf(line, sizeof(line), "line %06u ................\n", i);
		taken += write(bench->program, line, (size_t)len) == len;
	}
	return taken;
}

static off_t size_of(const struct bench *bench)
{
	struct stat st;

	assert_int_equal(stat(bench->path, &st), 0);
	return st.st_size;
}

static struct log_pipe *reader(struct bench *bench)
{
	struct log_pipe *pipe = NULL;

	assert_int_equal(log_pipe_new(bench->loop, bench->path, &pipe, NULL), 0);
	return pipe;
}

static void run(struct bench *bench, unsigned ms)
{
	bool never = false;

	loop_run_until(bench->loop, &never, ms);
}

static void test_words_arrive(void **state)
{
	struct bench *bench = *state;
	_cleanup_(log_pipe_free_cleanup) struct log_pipe *pipe = reader(bench);
	_cleanup_free_ char *text = NULL;

	assert_non_null(pipe);
	say(bench, 1, 2);
	run(bench, 50);
	assert_int_equal(file_read(bench->path, 4096, &text, NULL, NULL), 0);
	assert_string_equal(text, "line 000001 ................\n");
}

static void test_a_flood_is_slow_and_drops(void **state)
{
	struct bench *bench = *state;
	_cleanup_(log_pipe_free_cleanup) struct log_pipe *pipe = reader(bench);

	uint64_t begin_ms = clock_monotonic_ms();

	assert_non_null(pipe);
	assert_true(say(bench, 0, 100000) < 4000);
	run(bench, 500);
	say(bench, 0, 100000);
	run(bench, 200);
	/* The rate is that of a second, of which this may see the ends of two more. */
	uint64_t seconds = (clock_monotonic_ms() - begin_ms) / 1000 + 2;
	assert_in_range(size_of(bench), LOG_PIPE_RATE, seconds * LOG_PIPE_RATE);
}

/* The newest words stay. */
static void test_the_file_is_bounded(void **state)
{
	struct bench *bench = *state;
	_cleanup_(log_pipe_free_cleanup) struct log_pipe *pipe = reader(bench);
	_cleanup_free_ char *text = NULL;

	for (unsigned i = 0; i < 200; i++) {
		say(bench, i * 1000, i * 1000 + 1000);
		log_pipe_drain(pipe);
		assert_true(size_of(bench) <= LOG_PIPE_MAX);
	}
	assert_true(size_of(bench) >= LOG_PIPE_MAX / 2);
	assert_int_equal(file_read(bench->path, LOG_PIPE_MAX, &text, NULL, NULL), 0);
	assert_non_null(strstr(text, "line 199999 "));
	assert_null(strstr(text, "line 000000 "));
}

/* A file that was too large already, as of a version without bounds. */
static void test_a_large_file_becomes_small(void **state)
{
	struct bench *bench = *state;
	_cleanup_(log_pipe_free_cleanup) struct log_pipe *pipe = reader(bench);

	assert_int_equal(truncate(bench->path, 10 << 20), 0);
	say(bench, 1, 2);
	log_pipe_drain(pipe);
	assert_true(size_of(bench) <= LOG_PIPE_MAX);
}

static void test_the_next_reader_goes_on(void **state)
{
	struct bench *bench = *state;
	struct log_pipe *first = reader(bench);
	_cleanup_free_ char *text = NULL;

	log_pipe_free(first);
	assert_int_equal(say(bench, 1, 2), 1); /* nobody reads, and nothing fails */
	_cleanup_(log_pipe_free_cleanup) struct log_pipe *second = reader(bench);
	log_pipe_drain(second);
	assert_int_equal(file_read(bench->path, 4096, &text, NULL, NULL), 0);
	assert_non_null(strstr(text, "line 000001 "));
}

/* The program has its end wait: not ours. */
static void test_a_program_that_waits(void **state)
{
	struct bench *bench = *state;
	_cleanup_(log_pipe_free_cleanup) struct log_pipe *pipe = reader(bench);

	assert_int_equal(fcntl(bench->program, F_SETFL, 0), 0);
	log_pipe_drain(pipe);
}

static void test_something_else_of_that_name(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *other = path_join(bench->dir, "other");
	_cleanup_free_ char *fifo = path_join(bench->dir, "other.fifo");
	struct log_pipe *pipe = NULL;

	assert_int_equal(file_write_atomic(fifo, "x", 1, 0600, NULL), 0);
	assert_int_equal(log_pipe_new(bench->loop, other, &pipe, NULL), -EINVAL);
	assert_null(pipe);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_words_arrive),
		CASE(test_a_flood_is_slow_and_drops),
		CASE(test_the_file_is_bounded),
		CASE(test_a_large_file_becomes_small),
		CASE(test_the_next_reader_goes_on),
		CASE(test_a_program_that_waits),
		CASE(test_something_else_of_that_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
