#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <event2/buffer.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/stream.h"
#include "tests/unit/state_table.h"

#define DEADLINE_MS 20000
#define BULK        (10 * 1024 * 1024)
#define BOUND       (256 * 1024)

/* One end of a socket pair (or pipe) with what it saw. */
struct side {
	struct stream *stream;
	size_t received, written;
	size_t most_seen; /* unconsumed at once */
	int datas, ends, reason, drains;
	bool in_write;
	bool keep; /* consumes nothing */
	bool free_in_data, free_in_end, free_in_drained, pause_in_data;
	bool done;
	char text[64];
};

struct fixture {
	struct loop *loop;
	struct side a, b;
	int fds[2];
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

	stream_free(f->a.stream);
	stream_free(f->b.stream);
	loop_free(f->loop);
	close_fd(f->fds[0]);
	close_fd(f->fds[1]);
	free(f);
	return 0;
}

static uint8_t pattern(size_t offset)
{
	return (uint8_t)(offset * 31 + (offset >> 8) * 7 + (offset >> 16));
}

static void on_data(struct stream *stream, struct evbuffer *input, void *userdata)
{
	struct side *side = userdata;
	size_t len = evbuffer_get_length(input);
	uint8_t data[4096];
	int n;

	side->datas++;
	if (len > side->most_seen)
		side->most_seen = len;
	if (side->free_in_data) {
		stream_free(steal_ptr(side->stream));
		side->done = true;
		return;
	}
	if (side->pause_in_data)
		stream_pause(stream);
	while (!side->keep && (n = evbuffer_remove(input, data, sizeof(data))) > 0) {
		for (int i = 0; i < n; i++)
			assert_int_equal(data[i], pattern(side->received++));
	}
	side->done = side->received >= BULK;
}

/* For text, not the pattern. */
static void on_text(struct stream *stream _unused_, struct evbuffer *input, void *userdata)
{
	struct side *side = userdata;
	size_t len = strlen(side->text);

	evbuffer_remove(input, side->text + len, sizeof(side->text) - 1 - len);
}

static void write_more(struct side *side)
{
	uint8_t data[10000];

	side->in_write = true;
	while (side->written < BULK && stream_pending(side->stream) < BOUND) {
		size_t len = 1 + (side->written * 7919) % sizeof(data);

		if (len > BULK - side->written)
			len = BULK - side->written;
		for (size_t i = 0; i < len; i++)
			data[i] = pattern(side->written + i);
		stream_write(side->stream, data, len, NULL, 0);
		side->written += len;
	}
	side->in_write = false;
}

static void on_drained(struct stream *stream, void *userdata)
{
	struct side *side = userdata;

	side->drains++;
	assert_int_equal(stream_pending(stream), 0);
	if (side->free_in_drained) {
		stream_free(steal_ptr(side->stream));
		side->done = true;
		return;
	}
	if (side->written > 0)
		write_more(side);
}

static void on_end(struct stream *stream, int reason, void *userdata)
{
	struct side *side = userdata;

	assert_false(side->in_write);
	assert_ptr_equal(stream, side->stream);
	side->ends++;
	side->reason = reason;
	side->done = true;
	if (side->free_in_end)
		stream_free(steal_ptr(side->stream));
}

static struct stream_options options_for(struct side *side)
{
	return (struct stream_options){
		.on_data = on_data,
		.on_drained = on_drained,
		.on_end = on_end,
		.userdata = side,
	};
}

static void open_side(struct fixture *f, struct side *side, int which)
{
	struct stream_options options = options_for(side);

	side->stream = stream_new(f->loop, steal_fd(&f->fds[which]), &options);
}

static void open_text_side(struct fixture *f, struct side *side, int which)
{
	struct stream_options options = options_for(side);

	options.on_data = on_text;
	side->stream = stream_new(f->loop, steal_fd(&f->fds[which]), &options);
}

/* Runs rounds for a while in which nothing is expected to end it. */
static void run_for(struct fixture *f, unsigned ms)
{
	bool never = false;

	loop_run_until(f->loop, &never, ms);
}

static void shrink_buffers(struct fixture *f)
{
	int small = 4096;

	for (int i = 0; i < 2; i++)
		assert_int_equal(
			setsockopt(f->fds[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
}

static void test_bulk_both_ways(void **state)
{
	struct fixture *f = *state;
	uint64_t deadline = clock_monotonic_ms() + DEADLINE_MS;

	shrink_buffers(f);
	open_side(f, &f->a, 0);
	open_side(f, &f->b, 1);
	write_more(&f->a);
	write_more(&f->b);
	assert_true(stream_pending(f->a.stream) > 0);
	while (!(f->a.done && f->b.done) && clock_monotonic_ms() < deadline)
		loop_run_until(f->loop, f->a.done ? &f->b.done : &f->a.done, DEADLINE_MS);
	assert_int_equal(f->a.received, BULK);
	assert_int_equal(f->b.received, BULK);
	assert_true(f->a.drains > 0);
	assert_int_equal(f->a.ends + f->b.ends, 0);
}

static void test_fds_keep_their_order(void **state)
{
	struct fixture *f = *state;
	char filler[8192] = "";
	char text[2] = "0";

	shrink_buffers(f);
	open_side(f, &f->a, 0);
	open_side(f, &f->b, 1);
	f->b.keep = true;
	assert_int_equal(stream_take_fd(f->b.stream), -EBADF);
	for (int i = 0; i < 9; i++) {
		int pipe_fds[2];

		assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
		text[0] = (char)('0' + i);
		assert_int_equal(write(pipe_fds[1], text, 1), 1);
		close(pipe_fds[1]);
		stream_write(f->a.stream, filler, sizeof(filler), pipe_fds, 1);
		stream_write(f->a.stream, filler, sizeof(filler), NULL, 0);
	}
	assert_true(stream_pending(f->a.stream) > 0);
	run_for(f, 50);
	assert_int_equal(stream_pending(f->a.stream), 0);
	for (int i = 0; i < 9; i++) {
		_cleanup_close_ int fd = stream_take_fd(f->b.stream);

		assert_true(fd >= 0);
		assert_int_equal(read(fd, text, 1), 1);
		assert_int_equal(text[0], '0' + i);
	}
	assert_int_equal(stream_take_fd(f->b.stream), -EBADF);
}

static void test_untaken_fds_are_closed(void **state)
{
	struct fixture *f = *state;
	int pipe_fds[2];
	char c;

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	open_side(f, &f->a, 0);
	open_side(f, &f->b, 1);
	f->b.keep = true;
	stream_write(f->a.stream, "x", 1, &pipe_fds[1], 1);
	run_for(f, 10);
	assert_int_equal(read(pipe_fds[0], &c, 1), -1);
	assert_int_equal(errno, EAGAIN);
	stream_free(steal_ptr(f->b.stream));
	assert_int_equal(read(pipe_fds[0], &c, 1), 0);
	close(pipe_fds[0]);
}

static void test_too_many_fds_fail_the_stream(void **state)
{
	struct fixture *f = *state;

	open_side(f, &f->a, 0);
	f->a.keep = true;
	for (int i = 0; i < 40; i++) {
		const int fds[2] = { STDERR_FILENO, STDERR_FILENO };

		assert_int_equal(socket_send(f->fds[1], "x", 1, fds, 2), 1);
	}
	assert_true(loop_run_until(f->loop, &f->a.done, DEADLINE_MS));
	assert_int_equal(f->a.reason, -EPROTO);
}

static void test_end_once_after_the_data(void **state)
{
	struct fixture *f = *state;

	open_text_side(f, &f->a, 0);
	assert_int_equal(write(f->fds[1], "last words", 10), 10);
	f->fds[1] = close_fd(f->fds[1]);
	assert_true(loop_run_until(f->loop, &f->a.done, DEADLINE_MS));
	assert_string_equal(f->a.text, "last words");
	run_for(f, 10);
	assert_int_equal(f->a.ends, 1);
	assert_int_equal(f->a.reason, 0);
	stream_write(f->a.stream, "dropped", 7, NULL, 0);
	assert_int_equal(stream_pending(f->a.stream), 0);
	run_for(f, 10);
	assert_int_equal(f->a.ends, 1);
}

static void test_failed_write_ends_later(void **state)
{
	struct fixture *f = *state;

	open_text_side(f, &f->a, 0);
	assert_int_equal(write(f->fds[1], "bye", 3), 3);
	f->fds[1] = close_fd(f->fds[1]);
	f->a.in_write = true;
	stream_write(f->a.stream, "anybody?", 8, NULL, 0);
	stream_write(f->a.stream, "hello?", 6, NULL, 0);
	f->a.in_write = false;
	assert_int_equal(f->a.ends, 0);
	assert_true(loop_run_until(f->loop, &f->a.done, DEADLINE_MS));
	assert_string_equal(f->a.text, "bye");
	run_for(f, 10);
	assert_int_equal(f->a.ends, 1);
	assert_int_equal(f->a.reason, 0);
}

static void test_failed_write_ends_a_paused_stream(void **state)
{
	struct fixture *f = *state;

	open_side(f, &f->a, 0);
	stream_pause(f->a.stream);
	f->fds[1] = close_fd(f->fds[1]);
	stream_write(f->a.stream, "x", 1, NULL, 0);
	assert_true(loop_run_until(f->loop, &f->a.done, DEADLINE_MS));
	assert_int_equal(f->a.ends, 1);
	assert_int_equal(f->a.reason, 0);
}

static void test_free_after_failed_write(void **state)
{
	struct fixture *f = *state;

	open_side(f, &f->a, 0);
	f->fds[1] = close_fd(f->fds[1]);
	stream_write(f->a.stream, "x", 1, NULL, 0);
	stream_free(steal_ptr(f->a.stream));
	run_for(f, 10);
	assert_int_equal(f->a.ends + f->a.datas, 0);
}

static void test_free_in_on_data(void **state)
{
	struct fixture *f = *state;

	open_side(f, &f->a, 0);
	f->a.free_in_data = true;
	assert_int_equal(write(f->fds[1], "x", 1), 1);
	f->fds[1] = close_fd(f->fds[1]);
	assert_true(loop_run_until(f->loop, &f->a.done, DEADLINE_MS));
	run_for(f, 10);
	assert_int_equal(f->a.ends, 0);
}

static void test_free_in_on_end(void **state)
{
	struct fixture *f = *state;

	open_side(f, &f->a, 0);
	f->a.free_in_end = true;
	f->fds[1] = close_fd(f->fds[1]);
	assert_true(loop_run_until(f->loop, &f->a.done, DEADLINE_MS));
	assert_int_equal(f->a.ends, 1);
}

static void test_free_in_on_drained(void **state)
{
	struct fixture *f = *state;
	char filler[65536] = "";

	shrink_buffers(f);
	open_side(f, &f->a, 0);
	open_side(f, &f->b, 1);
	f->b.keep = true;
	f->a.free_in_drained = true;
	stream_write(f->a.stream, filler, sizeof(filler), NULL, 0);
	assert_true(loop_run_until(f->loop, &f->a.done, DEADLINE_MS));
	assert_true(loop_run_until(f->loop, &f->b.done, DEADLINE_MS));
	assert_int_equal(f->b.most_seen, sizeof(filler));
}

static void test_detach(void **state)
{
	struct fixture *f = *state;
	int fd = -EBADF;
	char c = 0;

	open_side(f, &f->a, 0);
	f->a.keep = true;
	assert_int_equal(write(f->fds[1], "x", 1), 1);
	run_for(f, 10);
	assert_int_equal(f->a.datas, 1);
	assert_int_equal(stream_detach(f->a.stream, &fd), -EBUSY);
	assert_int_equal(fd, -EBADF);
	stream_free(steal_ptr(f->a.stream));
	close_fd(f->fds[1]);

	assert_int_equal(socket_pair(f->fds), 0);
	open_side(f, &f->b, 0);
	assert_int_equal(stream_detach(steal_ptr(f->b.stream), &fd), 0);
	assert_int_equal(write(f->fds[1], "y", 1), 1);
	assert_int_equal(read(fd, &c, 1), 1);
	assert_int_equal(c, 'y');
	close(fd);
}

static void test_detach_with_output_queued(void **state)
{
	struct fixture *f = *state;
	char filler[65536] = "";
	int fd = -EBADF;

	shrink_buffers(f);
	open_side(f, &f->a, 0);
	stream_write(f->a.stream, filler, sizeof(filler), NULL, 0);
	assert_int_equal(stream_detach(f->a.stream, &fd), -EBUSY);
	assert_true(stream_pending(f->a.stream) > 0);
}

static void test_resume_delivers_what_was_left(void **state)
{
	struct fixture *f = *state;

	open_side(f, &f->a, 0);
	f->a.keep = true;
	f->a.pause_in_data = true;
	assert_int_equal(write(f->fds[1], "abc", 3), 3);
	run_for(f, 10);
	assert_int_equal(write(f->fds[1], "def", 3), 3);
	f->fds[1] = close_fd(f->fds[1]);
	run_for(f, 10);
	assert_int_equal(f->a.datas, 1);
	assert_int_equal(f->a.ends, 0);
	f->a.pause_in_data = false;
	stream_resume(f->a.stream);
	assert_int_equal(f->a.datas, 1);
	assert_true(loop_run_until(f->loop, &f->a.done, DEADLINE_MS));
	assert_true(f->a.datas >= 2);
	assert_int_equal(f->a.most_seen, 6);
	assert_int_equal(f->a.ends, 1);
}

static void test_input_is_bounded(void **state)
{
	struct fixture *f = *state;
	struct stream_options options = options_for(&f->a);
	_cleanup_free_ char *filler = xcalloc(1, 1024 * 1024);

	options.input_max = 10000;
	f->a.keep = true;
	f->a.stream = stream_new(f->loop, steal_fd(&f->fds[0]), &options);
	open_side(f, &f->b, 1);
	stream_write(f->b.stream, filler, 1024 * 1024, NULL, 0);
	run_for(f, 30);
	assert_true(stream_pending(f->b.stream) > 0);
	assert_true(f->a.most_seen > 0);
	assert_true(f->a.most_seen <= 10000 + 64 * 1024);
}

static struct evbuffer *kept_input;

static void keep_input(struct stream *stream _unused_, struct evbuffer *input, void *userdata)
{
	struct side *side = userdata;

	kept_input = input;
	side->datas++;
	side->most_seen = evbuffer_get_length(input);
}

static void test_draining_later_goes_on(void **state)
{
	struct fixture *f = *state;
	struct stream_options options = options_for(&f->a);
	char filler[200] = "";

	options.input_max = 100;
	options.on_data = keep_input;
	f->a.stream = stream_new(f->loop, steal_fd(&f->fds[0]), &options);
	assert_int_equal(write(f->fds[1], filler, sizeof(filler)), sizeof(filler));
	run_for(f, 10);
	assert_int_equal(f->a.datas, 1);
	assert_int_equal(write(f->fds[1], "x", 1), 1);
	run_for(f, 10);
	assert_int_equal(f->a.datas, 1);
	evbuffer_drain(kept_input, evbuffer_get_length(kept_input));
	run_for(f, 10);
	assert_int_equal(f->a.datas, 2);
	assert_int_equal(f->a.most_seen, 1);
}

/* A whole wake-up's bound and more in a pipe, whose other side is gone: everything is read
 * from a single edge, the end comes once and nothing spins. */
static void test_edge(void **state)
{
	struct fixture *f = *state;
	struct stream_options options = options_for(&f->a);
	int pipe_fds[2];
	_cleanup_free_ uint8_t *data = xcalloc(1, 1024 * 1024);

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	assert_true(fcntl(pipe_fds[1], F_SETPIPE_SZ, 1024 * 1024) >= 1024 * 1024);
	for (size_t i = 0; i < 1024 * 1024; i++)
		data[i] = pattern(i);
	assert_int_equal(write(pipe_fds[1], data, 1024 * 1024), 1024 * 1024);
	close(pipe_fds[1]);
	options.edge = true;
	f->a.stream = stream_new(f->loop, pipe_fds[0], &options);
	assert_true(loop_run_until(f->loop, &f->a.done, DEADLINE_MS));
	assert_int_equal(f->a.received, 1024 * 1024);
	assert_true(f->a.most_seen <= STREAM_READ_MAX + 64 * 1024);
	run_for(f, 10);
	assert_int_equal(f->a.ends, 1);
	assert_int_equal(f->a.reason, 0);
}

static void test_edge_with_pauses(void **state)
{
	struct fixture *f = *state;
	struct stream_options options = options_for(&f->a);

	options.edge = true;
	options.on_data = on_text;
	f->a.stream = stream_new(f->loop, steal_fd(&f->fds[0]), &options);
	run_for(f, 5);
	stream_pause(f->a.stream);
	assert_int_equal(write(f->fds[1], "abc", 3), 3);
	run_for(f, 5);
	assert_string_equal(f->a.text, "");
	stream_resume(f->a.stream);
	run_for(f, 5);
	assert_string_equal(f->a.text, "abc");
	stream_write(f->a.stream, "x", 1, NULL, 0);
	assert_int_equal(write(f->fds[1], "def", 3), 3);
	run_for(f, 5);
	assert_string_equal(f->a.text, "abcdef");
}

static void test_writer_of_a_pipe(void **state)
{
	struct fixture *f = *state;
	struct stream_options options = options_for(&f->a);
	int pipe_fds[2];
	char data[8] = "";

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	f->a.stream = stream_new(f->loop, pipe_fds[1], &options);
	stream_write(f->a.stream, "abc", 3, NULL, 0);
	run_for(f, 5);
	assert_int_equal(read(pipe_fds[0], data, sizeof(data)), 3);
	assert_int_equal(f->a.ends, 0);
	close(pipe_fds[0]);
	assert_true(loop_run_until(f->loop, &f->a.done, DEADLINE_MS));
	assert_int_equal(f->a.reason, 0);
	assert_int_equal(f->a.ends, 1);
}

/* A regular file cannot be polled; it is read to its end all the same. */
static void test_regular_file(void **state)
{
	struct fixture *f = *state;
	struct stream_options options = options_for(&f->a);
	FILE *file = tmpfile();
	uint8_t data[1000];

	assert_non_null(file);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = pattern(i);
	assert_int_equal(fwrite(data, 1, sizeof(data), file), sizeof(data));
	rewind(file);
	f->a.stream = stream_new(f->loop, dup(fileno(file)), &options);
	fclose(file);
	assert_true(loop_run_until(f->loop, &f->a.done, DEADLINE_MS));
	assert_int_equal(f->a.received, sizeof(data));
	assert_int_equal(f->a.reason, 0);
}

static void test_bad_descriptor_ends(void **state)
{
	struct fixture *f = *state;
	struct stream_options options = options_for(&f->a);

	f->a.stream = stream_new(f->loop, -EBADF, &options);
	assert_int_equal(f->a.ends, 0);
	assert_true(loop_run_until(f->loop, &f->a.done, DEADLINE_MS));
	assert_int_equal(f->a.reason, -EBADF);
}

static void test_edges(void **state _unused_)
{
	assert_states(&stream_states, "open: draining ending failed freed\n"
				      "draining: failed freed\n"
				      "ending: failed ended freed\n"
				      "failed: ended freed\n"
				      "ended: freed\n"
				      "freed:\n");
}

#define STREAM_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_edges),
		STREAM_TEST(test_bulk_both_ways),
		STREAM_TEST(test_fds_keep_their_order),
		STREAM_TEST(test_untaken_fds_are_closed),
		STREAM_TEST(test_too_many_fds_fail_the_stream),
		STREAM_TEST(test_end_once_after_the_data),
		STREAM_TEST(test_failed_write_ends_later),
		STREAM_TEST(test_failed_write_ends_a_paused_stream),
		STREAM_TEST(test_free_after_failed_write),
		STREAM_TEST(test_free_in_on_data),
		STREAM_TEST(test_free_in_on_end),
		STREAM_TEST(test_free_in_on_drained),
		STREAM_TEST(test_detach),
		STREAM_TEST(test_detach_with_output_queued),
		STREAM_TEST(test_resume_delivers_what_was_left),
		STREAM_TEST(test_input_is_bounded),
		STREAM_TEST(test_draining_later_goes_on),
		STREAM_TEST(test_edge),
		STREAM_TEST(test_edge_with_pauses),
		STREAM_TEST(test_writer_of_a_pipe),
		STREAM_TEST(test_regular_file),
		STREAM_TEST(test_bad_descriptor_ends),
	};

	return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
