/* A process's streams between FIFOs and a scripted agent. */
#include "fake_agent.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "shim/io.h"

#define BIG (10u << 20)

struct bench {
	struct loop *loop;
	struct fake_agent agent;
	struct ttrpc_client *client;
	struct agent_link *link;
	struct stdio stdio;
	struct io *io;
	char dir[32];
	uint8_t *big; /* BIG bytes that do not repeat */
	bool settled;
};

static char *fifo_new(struct bench *bench, const char *name)
{
	char *path = path_join(bench->dir, name);

	assert_int_equal(mkfifo(path, 0600), 0);
	return path;
}

static int setup(void **state)
{
	struct bench *bench = xnew(struct bench);
	uint32_t seed = 1;

	bench->loop = loop_new();
	fake_agent_init(&bench->agent, bench->loop);
	bench->client = ttrpc_client_new(bench->loop, fake_agent_connect(&bench->agent),
					 &(struct ttrpc_client_options){});
	bench->link = agent_link_new(bench->loop, bench->client, NULL, NULL);
	strcpy(bench->dir, "/tmp/kiln-test-io.XXXXXX");
	assert_non_null(mkdtemp(bench->dir));
	bench->stdio.in = fifo_new(bench, "in");
	bench->stdio.out = fifo_new(bench, "out");
	bench->stdio.err = fifo_new(bench, "err");
	bench->big = xcalloc(1, BIG);
	for (size_t i = 0; i < BIG; i++)
		bench->big[i] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	io_end(bench->io);
	agent_link_set(bench->link, NULL);
	ttrpc_client_free(bench->client);
	agent_link_free(bench->link);
	fake_agent_done(&bench->agent);
	loop_free(bench->loop);
	stdio_done(&bench->stdio);
	assert_int_equal(path_remove(bench->dir, NULL), 0);
	free(bench->big);
	free(bench);
	return 0;
}

static void on_settled(void *userdata)
{
	struct bench *bench = userdata;

	assert_false(bench->settled);
	bench->settled = true;
}

static int open_io(struct bench *bench, struct error *err)
{
	struct io_options options = {
		.loop = bench->loop,
		.agent = bench->link,
		.container_id = "c1",
		.exec_id = "",
		.ns = "ns1",
		.stdio = &bench->stdio,
		.on_settled = on_settled,
		.userdata = bench,
	};

	return io_open(&options, &bench->io, err);
}

static void open_and_start(struct bench *bench)
{
	struct error err = {};

	assert_int_equal(open_io(bench, &err), 0);
	io_start(bench->io, 0);
}

static int open_reader(const struct bench *bench)
{
	int fd = open(bench->stdio.out, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void slow_reader_gets_ten_megabytes(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ uint8_t *got = xcalloc(1, BIG);
	_cleanup_close_ int fd = open_reader(bench);
	size_t len = 0, most = 0;

	open_and_start(bench);
	fake_stream_set(&bench->agent.out, bench->big, BIG, true);
	fake_stream_set(&bench->agent.err, NULL, 0, true);
	await(bench->loop, bench->agent.out.reads > 0);
	io_settle(bench->io);
	for (unsigned i = 0; len < BIG && i < DEADLINE_MS; i++) {
		ssize_t n = read(fd, got + len, BIG - len < 30000 ? BIG - len : 30000);
		if (n > 0)
			len += (size_t)n;
		if (bench->agent.out.off - len > most)
			most = bench->agent.out.off - len;
		assert_true(!bench->settled || bench->agent.out.off == BIG);
		turn(bench->loop, n > 0 ? 0 : 1);
	}
	assert_int_equal(len, BIG);
	assert_memory_equal(got, bench->big, BIG);
	/* Backpressure: what is between agent and reader is in reads, the FIFO, and in our own. */
	assert_in_range(most, 2 * IO_CHUNK, (IO_READS + 1) * IO_CHUNK + 65536 + 30000);
	await(bench->loop, bench->settled);
	assert_int_equal(read(fd, got, 1), 0);
}

/* What is read ahead is bounded by what was asked for: an answer of more is the guest's end of it.
 */
static void guest_that_answers_with_more_ends_its_stream(void **state)
{
	struct bench *bench = *state;
	_cleanup_close_ int fd = open_reader(bench);
	char got[16];

	bench->agent.out.too_much = IO_CHUNK + 1;
	open_and_start(bench);
	fake_stream_set(&bench->agent.out, bench->big, BIG, true);
	fake_stream_set(&bench->agent.err, NULL, 0, true);
	await(bench->loop, bench->agent.out.reads > 0);
	io_settle(bench->io);
	await(bench->loop, bench->settled);
	assert_int_equal(read(fd, got, sizeof(got)), 0);
	assert_int_equal(bench->agent.out.reads, 1);
}

static void ten_megabytes_of_stdin_arrive_and_then_the_end(void **state)
{
	struct bench *bench = *state;
	size_t sent = 0;
	int fd;

	bench->agent.in_max = 10007; /* the agent takes part of what it is given */
	open_and_start(bench);
	fd = open(bench->stdio.in, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(fd >= 0);
	for (unsigned i = 0; sent < BIG && i < 100 * DEADLINE_MS; i++) {
		ssize_t n = write(fd, bench->big + sent, BIG - sent);
		if (n > 0)
			sent += (size_t)n;
		turn(bench->loop, n > 0 ? 0 : 1);
	}
	assert_int_equal(sent, BIG);
	io_close_stdin(bench->io);
	turn(bench->loop, 20);
	assert_false(bench->agent.in_closed);
	close(fd);
	await(bench->loop, bench->agent.in_closed);
	assert_int_equal(bench->agent.in.len, BIG);
	assert_memory_equal(bench->agent.in.text, bench->big, BIG);
}

static void write_and_close(const struct bench *bench, const char *text)
{
	int fd = open(bench->stdio.in, O_WRONLY | O_NONBLOCK | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void stdin_has_no_reader_before_the_start(void **state)
{
	struct bench *bench = *state;
	struct error err = {};

	assert_int_equal(open_io(bench, &err), 0);
	assert_int_equal(open(bench->stdio.in, O_WRONLY | O_NONBLOCK | O_CLOEXEC), -1);
	io_start(bench->io, 0);
	write_and_close(bench, "early");
	io_close_stdin(bench->io);
	await(bench->loop, bench->agent.in_closed);
	assert_string_equal(strbuf_text(&bench->agent.in), "early");
}

static void stdin_ends_with_close_io(void **state)
{
	struct bench *bench = *state;

	open_and_start(bench);
	write_and_close(bench, "one ");
	await(bench->loop, bench->agent.in.len == 4);
	turn(bench->loop, 50);
	assert_false(bench->agent.in_closed);
	write_and_close(bench, "two");
	io_close_stdin(bench->io);
	await(bench->loop, bench->agent.in_closed);
	assert_string_equal(strbuf_text(&bench->agent.in), "one two");
}

/* As of a client whose own stdin is at its end: docker run -i IMAGE cat </dev/null. */
static void stdin_ends_with_close_io_before_the_start(void **state)
{
	struct bench *bench = *state;
	struct error err = {};

	assert_int_equal(open_io(bench, &err), 0);
	io_close_stdin(bench->io);
	io_start(bench->io, 0);
	await(bench->loop, bench->agent.in_closed);
	assert_string_equal(strbuf_text(&bench->agent.in), "");
}

static void what_a_client_has_written_comes_before_that_end(void **state)
{
	struct bench *bench = *state;
	int fd = open(bench->stdio.in, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	struct error err = {};

	assert_int_equal(write(fd, "early", 5), 5);
	assert_int_equal(open_io(bench, &err), 0);
	io_close_stdin(bench->io);
	io_start(bench->io, 0);
	await(bench->loop, bench->agent.in.len == 5);
	turn(bench->loop, 20);
	assert_false(bench->agent.in_closed);
	close(fd);
	await(bench->loop, bench->agent.in_closed);
	assert_string_equal(strbuf_text(&bench->agent.in), "early");
}

static void fifo_without_writer_costs_nothing(void **state)
{
	struct bench *bench = *state;
	clock_t before;

	open_and_start(bench);
	turn(bench->loop, 20);
	before = clock();
	turn(bench->loop, 300);
	assert_true(clock() - before < CLOCKS_PER_SEC / 10);
	assert_false(bench->agent.in_closed);
}

static void late_reader_finds_everything(void **state)
{
	struct bench *bench = *state;
	_cleanup_close_ int fd = -EBADF;
	char got[16] = "";

	open_and_start(bench);
	fake_stream_set(&bench->agent.out, "first", 5, false);
	turn(bench->loop, 20);
	fd = open_reader(bench);
	fake_stream_set(&bench->agent.out, " last", 5, true);
	await(bench->loop, read_full(fd, got, 0) == 0 && bench->agent.out.reads == 3);
	assert_int_equal(read_full(fd, got, sizeof(got)), 10);
	assert_string_equal(got, "first last");
}

/* containerd's reader, on a busy host: the process has written, has ended, and both were told. */
static void reader_that_comes_after_the_end_finds_everything(void **state)
{
	struct bench *bench = *state;
	_cleanup_close_ int fd = -EBADF;
	char got[16] = "";

	open_and_start(bench);
	io_settle(bench->io);
	fake_stream_set(&bench->agent.out, "all of it", 9, true);
	fake_stream_set(&bench->agent.err, NULL, 0, true);
	await(bench->loop, bench->settled);
	turn(bench->loop, 20);
	fd = open_reader(bench);
	assert_int_equal(read(fd, got, sizeof(got)), 9);
	assert_string_equal(got, "all of it");
	await(bench->loop, read(fd, got, sizeof(got)) == 0);
}

static void output_without_fifo_is_dropped(void **state)
{
	struct bench *bench = *state;

	replace_string(&bench->stdio.out, "");
	open_and_start(bench);
	fake_stream_set(&bench->agent.out, bench->big, BIG, true);
	await(bench->loop, bench->agent.out.off == BIG);
}

static void log_file_is_appended_to(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *path = path_join(bench->dir, "log");
	_cleanup_free_ char *text = NULL;

	assert_int_equal(file_write_atomic(path, "old ", 4, 0600, NULL), 0);
	free(bench->stdio.out);
	bench->stdio.out = xasprintf("file://%s", path);
	open_and_start(bench);
	fake_stream_set(&bench->agent.out, "new", 3, true);
	await(bench->loop, bench->agent.out.reads == 2);
	assert_int_equal(file_read(path, 100, &text, NULL, NULL), 0);
	assert_string_equal(text, "old new");
}

static char *read_file(const struct bench *bench, const char *name)
{
	_cleanup_free_ char *path = path_join(bench->dir, name);
	char *text = NULL;

	return file_read(path, 4096, &text, NULL, NULL) < 0 ? xstrdup("") : text;
}

static bool has_logged(const struct bench *bench)
{
	_cleanup_free_ char *text = read_file(bench, "done");

	return *text;
}

static void logging_program_gets_both_streams(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *path = path_join(bench->dir, "logger");
	_cleanup_free_ char *script = xasprintf(
		"#!/bin/sh\ncd %s\necho \"$CONTAINER_ID $CONTAINER_NAMESPACE $*\" >words\nexec 5>&-\n"
		"/bin/cat <&3 >got.out\n/bin/cat <&4 >got.err\necho over >done\n",
		bench->dir);

	assert_int_equal(file_write_atomic(path, script, strlen(script), 0755, NULL), 0);
	free(bench->stdio.out);
	bench->stdio.out = xasprintf("binary://%s?a=b%%20c&d=", path);
	replace_string(&bench->stdio.err, bench->stdio.out);
	open_and_start(bench);
	fake_stream_set(&bench->agent.out, "to out", 6, true);
	fake_stream_set(&bench->agent.err, "to err", 6, true);
	await(bench->loop, has_logged(bench));
	_cleanup_free_ char *out = read_file(bench, "got.out");
	_cleanup_free_ char *errout = read_file(bench, "got.err");
	_cleanup_free_ char *words = read_file(bench, "words");
	assert_string_equal(out, "to out");
	assert_string_equal(errout, "to err");
	assert_string_equal(words, "c1 ns1 a b c d \n");
	io_end(steal_ptr(bench->io));
	turn(bench->loop, 50); /* it is collected, and its memory with it */
}

static void bad_paths_are_refused(void **state)
{
	struct bench *bench = *state;
	struct error err = {};

	replace_string(&bench->stdio.out, "binary:///nowhere/logger?a=b");
	assert_int_equal(open_io(bench, &err), -ENOENT);
	assert_non_null(strstr(error_message(&err), "logging program binary:///nowhere/logger"));
	replace_string(&bench->stdio.out, "binary://logger");
	assert_int_equal(open_io(bench, &err), -EINVAL);
	assert_non_null(strstr(error_message(&err), "absolute path"));
	replace_string(&bench->stdio.out, "/nowhere/out");
	assert_int_equal(open_io(bench, &err), -ENOENT);
	assert_non_null(strstr(error_message(&err), "/nowhere/out"));
	replace_string(&bench->stdio.out, "");
	replace_string(&bench->stdio.in, "/nowhere/in");
	assert_int_equal(open_io(bench, &err), -ENOENT);
	error_done(&err);
}

static void held_open_output_is_waited_for_a_bounded_time(void **state)
{
	struct bench *bench = *state;
	uint64_t start = clock_monotonic_ms();

	open_and_start(bench);
	fake_stream_set(&bench->agent.err, NULL, 0, true);
	io_settle(bench->io);
	await(bench->loop, bench->settled);
	assert_in_range(clock_monotonic_ms() - start, IO_IDLE_MS, 5 * IO_IDLE_MS);
	/* What comes later is still delivered. */
	_cleanup_close_ int fd = open_reader(bench);
	char got[4] = "";
	fake_stream_set(&bench->agent.out, "bye", 3, true);
	await(bench->loop, bench->agent.out.reads == 2);
	assert_int_equal(read(fd, got, 3), 3);
	assert_string_equal(got, "bye");
}

static void ended_streams_settle_at_once(void **state)
{
	struct bench *bench = *state;
	uint64_t start = clock_monotonic_ms();

	open_and_start(bench);
	io_settle(bench->io);
	fake_stream_set(&bench->agent.out, NULL, 0, true);
	fake_stream_set(&bench->agent.err, NULL, 0, true);
	await(bench->loop, bench->settled);
	assert_true(clock_monotonic_ms() - start < IO_IDLE_MS);
}

static void lost_agent_ends_the_streams(void **state)
{
	struct bench *bench = *state;
	_cleanup_close_ int fd = open_reader(bench);
	char byte;

	open_and_start(bench);
	await(bench->loop, bench->agent.out.nheld > 0 && bench->agent.err.nheld > 0);
	ttrpc_conn_close(bench->agent.conn);
	io_settle(bench->io);
	await(bench->loop, bench->settled);
	assert_int_equal(read(fd, &byte, 1), 0);
}

static void refused_read_is_no_end(void **state)
{
	struct bench *bench = *state;
	_cleanup_close_ int fd = open_reader(bench);
	char got[16] = "";

	bench->agent.fail_method = "ReadStdout";
	bench->agent.fail_code = TTRPC_RESOURCE_EXHAUSTED;
	open_and_start(bench);
	fake_stream_set(&bench->agent.out, "all of it", 9, true);
	fake_stream_set(&bench->agent.err, NULL, 0, true);
	turn(bench->loop, 3 * IO_RETRY_MS);
	bench->agent.fail_method = NULL;
	io_settle(bench->io);
	await(bench->loop, bench->settled);
	assert_int_equal(read(fd, got, sizeof(got)), 9);
	assert_string_equal(got, "all of it");
}

static void refused_write_is_no_end(void **state)
{
	struct bench *bench = *state;

	bench->agent.fail_method = "WriteStdin";
	bench->agent.fail_code = TTRPC_RESOURCE_EXHAUSTED;
	open_and_start(bench);
	write_and_close(bench, "all of it");
	turn(bench->loop, 3 * IO_RETRY_MS);
	assert_int_equal(bench->agent.in.len, 0);
	bench->agent.fail_method = NULL;
	io_close_stdin(bench->io);
	await(bench->loop, bench->agent.in_closed);
	assert_string_equal(strbuf_text(&bench->agent.in), "all of it");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(slow_reader_gets_ten_megabytes),
		T(guest_that_answers_with_more_ends_its_stream),
		T(ten_megabytes_of_stdin_arrive_and_then_the_end),
		T(stdin_has_no_reader_before_the_start),
		T(stdin_ends_with_close_io),
		T(stdin_ends_with_close_io_before_the_start),
		T(what_a_client_has_written_comes_before_that_end),
		T(fifo_without_writer_costs_nothing),
		T(late_reader_finds_everything),
		T(reader_that_comes_after_the_end_finds_everything),
		T(output_without_fifo_is_dropped),
		T(log_file_is_appended_to),
		T(logging_program_gets_both_streams),
		T(bad_paths_are_refused),
		T(held_open_output_is_waited_for_a_bounded_time),
		T(ended_streams_settle_at_once),
		T(lost_agent_ends_the_streams),
		T(refused_read_is_no_end),
		T(refused_write_is_no_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
