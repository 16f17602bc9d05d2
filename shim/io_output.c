#include "shim/io_output.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"
#include "base/trace.h"
#include "proto/agent.pb-c.h"
#include "shim/late_reader.h"

static const char *const output_state_names[] = {
	[OUTPUT_IDLE] = "idle",
	[OUTPUT_READING] = "reading",
	[OUTPUT_BLOCKED] = "blocked",
	[OUTPUT_ENDED] = "ended",
};

static const unsigned output_next[] = {
	[OUTPUT_IDLE] = STATE(OUTPUT_READING) | STATE(OUTPUT_ENDED),
	[OUTPUT_READING] = STATE(OUTPUT_BLOCKED) | STATE(OUTPUT_ENDED),
	[OUTPUT_BLOCKED] = STATE(OUTPUT_READING) | STATE(OUTPUT_ENDED),
	[OUTPUT_ENDED] = 0,
};
const struct state_machine output_states = STATE_MACHINE("output", output_state_names, output_next);

/* A read in the guest, and what it has brought. */
struct output_read {
	TAILQ_ENTRY(output_read) link;
	struct io_output *output;
	struct agent_call *call; /* NULL: answered */
	uint8_t *data;           /* owned; answered only */
	size_t len;              /* 0: the end */
	size_t done;             /* of len, taken by the FIFO */
};

struct io_output {
	struct loop *loop;
	struct agent_link *agent;
	char *container_id;
	char *exec_id;
	const char *method;
	enum output_state state;
	int fd;                   /* -EBADF: what comes is dropped */
	struct loop_watch *watch; /* paused unless BLOCKED; NULL for a regular file */
	struct late_reader *late; /* owned; ENDED, and the FIFO's reader has not come */
	TAILQ_HEAD(output_reads, output_read) reads; /* owned; in the order of the bytes */
	size_t nreads;
	size_t wanted;            /* of reads */
	struct loop_timer *retry; /* ends refused */
	bool refused;             /* a read was, and no other one is sent for a while */
	uint64_t progress_ms;
	void (*on_change)(void *userdata);
	void *userdata;
	struct trace_span traced; /* its first bytes are the end of it; none: not */
};

static int open_target(const char *path, int *ret_fd, struct error *err)
{
	const char *file = str_after(path, "file://");
	int fd;

	if (file)
		fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640);
	else
		fd = open(path, O_RDWR | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return error_set_errno(err, errno, "cannot open %s", path);
	*ret_fd = fd;
	return 0;
}

static void drop_read(struct io_output *output, struct output_read *read)
{
	TAILQ_REMOVE(&output->reads, read, link);
	output->nreads--;
	agent_call_cancel(read->call);
	free(read->data);
	free(read);
}

static void drop_reads(struct io_output *output)
{
	struct output_read *read;

	while ((read = TAILQ_FIRST(&output->reads)))
		/* The analyzer does not follow TAILQ_REMOVE.
		 * NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
		drop_read(output, read);
}

static void output_free(void *userdata)
{
	struct io_output *output = userdata;

	late_reader_free(output->late);
	loop_timer_free(output->retry);
	loop_watch_free(output->watch);
	close_fd(output->fd);
	free(output->container_id);
	free(output->exec_id);
	free(output);
}

static void close_output(struct io_output *output)
{
	bool is_fifo = output->watch != NULL;

	loop_watch_free(steal_ptr(output->watch));
	if (is_fifo)
		output->late = late_reader_new(output->loop, steal_fd(&output->fd));
	else
		output->fd = close_fd(output->fd);
}

static void set_state(struct io_output *output, enum output_state state)
{
	state_change(&output_states, NULL, output->state, state);
	output->state = state;
	if (output->watch)
		loop_watch_set(output->watch, state == OUTPUT_BLOCKED ? LOOP_WRITE : 0);
	if (state == OUTPUT_ENDED) {
		drop_reads(output);
		close_output(output);
	}
}

static void on_read(const struct ttrpc_reply *reply, void *userdata);

static void send_read(struct io_output *output)
{
	Grpc__ReadStreamRequest request = GRPC__READ_STREAM_REQUEST__INIT;
	struct output_read *read = xnew(struct output_read);

	request.container_id = output->container_id;
	request.exec_id = output->exec_id;
	request.len = IO_CHUNK;
	read->output = output;
	TAILQ_INSERT_TAIL(&output->reads, read, link);
	output->nreads++;
	read->call = agent_call(output->agent, output->method, &request.base, 0, on_read, read);
}

static void read_on(struct io_output *output)
{
	if (output->state != OUTPUT_READING)
		set_state(output, OUTPUT_READING);
	while (!output->refused && output->nreads < output->wanted)
		send_read(output);
}

/* A log file on a full disk must not stop the container. */
static void write_failed(struct io_output *output, int number)
{
	log_warning(output->container_id, "%s: output is dropped from now on: %s", output->method,
		    strerror(number));
	loop_watch_free(steal_ptr(output->watch));
	output->fd = close_fd(output->fd);
}

/* True when all is gone. */
static bool write_some(struct io_output *output, struct output_read *read)
{
	while (output->fd >= 0 && read->done < read->len) {
		ssize_t n = write(output->fd, read->data + read->done, read->len - read->done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return false;
		if (n < 0)
			write_failed(output, errno);
		else
			read->done += (size_t)n;
		output->progress_ms = clock_monotonic_ms();
	}
	return true;
}

/* Bulk is worth the memory of several reads, so that the guest need not wait for the next. */
static void choose_wanted(struct io_output *output, size_t len)
{
	output->wanted = len >= IO_CHUNK / 2 ? IO_READS : 1;
}

/* Hands on what has come, in its order. */
static void deliver(struct io_output *output)
{
	struct output_read *read;

	/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the same */
	while ((read = TAILQ_FIRST(&output->reads)) && !read->call) {
		if (read->len == 0) {
			set_state(output, OUTPUT_ENDED);
			output->on_change(output->userdata);
			return;
		}
		if (!write_some(output, read)) {
			if (output->state != OUTPUT_BLOCKED)
				set_state(output, OUTPUT_BLOCKED);
			return;
		}
		choose_wanted(output, read->len);
		drop_read(output, read);
	}
	read_on(output);
}

static void on_writable(int fd _unused_, unsigned events _unused_, void *userdata)
{
	struct io_output *output = userdata;

	if (output->state != OUTPUT_BLOCKED)
		return;
	deliver(output);
	if (output->state == OUTPUT_READING)
		output->on_change(output->userdata);
}

static void on_retry(void *userdata)
{
	struct io_output *output = userdata;

	output->refused = false;
	if (output->state == OUTPUT_READING)
		read_on(output);
}

static void try_again_later(struct output_read *read)
{
	struct io_output *output = read->output;

	drop_read(output, read); /* nothing of the stream went with it */
	output->refused = true;
	loop_timer_start(output->retry, IO_RETRY_MS);
}

static void on_read(const struct ttrpc_reply *reply, void *userdata)
{
	struct output_read *read = userdata;
	struct io_output *output = read->output;
	const Grpc__ReadStreamResponse *response =
		(const Grpc__ReadStreamResponse *)reply->response;

	read->call = NULL;
	output->progress_ms = clock_monotonic_ms();
	if (reply->code == TTRPC_RESOURCE_EXHAUSTED)
		try_again_later(read);
	else if (!response)
		log_debug(output->container_id, "%s ended: %s", output->method, reply->message);
	else if (response->data.len > IO_CHUNK)
		log_warning(
			output->container_id,
			"%s: the guest answered with %zu bytes, %u were asked for: this ends it",
			output->method, response->data.len, IO_CHUNK);
	else if (response->data.len > 0) {
		trace_end(TRACE_FIRST_OUTPUT, NULL, &output->traced);
		output->traced = (struct trace_span){};
		read->data = xmemdup(response->data.data, response->data.len);
		read->len = response->data.len;
	}
	if (output->state == OUTPUT_READING)
		deliver(output);
}

int io_output_open(const char *path, int *ret_fd, struct error *err)
{
	*ret_fd = -EBADF;
	return str_empty(path) ? 0 : open_target(path, ret_fd, err);
}

struct io_output *io_output_new(const struct io_options *options, const char *method, int fd,
				void (*on_change)(void *userdata), void *userdata)
{
	struct io_output *output;
	struct stat st;

	output = xnew(struct io_output);
	*output = (struct io_output){
		.loop = options->loop,
		.agent = options->agent,
		.container_id = xstrdup(options->container_id),
		.exec_id = xstrdup(options->exec_id),
		.method = method,
		.fd = fd,
		.on_change = on_change,
		.userdata = userdata,
		.reads = TAILQ_HEAD_INITIALIZER(output->reads),
		.wanted = 1,
	};
	output->retry = loop_timer_new(output->loop, on_retry, output);
	if (output->fd >= 0 && fstat(output->fd, &st) == 0 && !S_ISREG(st.st_mode))
		output->watch = loop_watch_new(output->loop, output->fd, 0, on_writable, output);
	return output;
}

void io_output_start(struct io_output *output, const struct trace_span *traced)
{
	output->traced = traced ? *traced : (struct trace_span){};
	read_on(output);
}

void io_output_end(struct io_output *output)
{
	if (!output)
		return;
	if (output->state != OUTPUT_ENDED)
		set_state(output, OUTPUT_ENDED);
	loop_defer(output->loop, output_free, output);
}

bool io_output_ended(const struct io_output *output)
{
	return output->state == OUTPUT_ENDED || output->state == OUTPUT_IDLE;
}

bool io_output_blocked(const struct io_output *output)
{
	return output->state == OUTPUT_BLOCKED;
}

uint64_t io_output_progress_ms(const struct io_output *output)
{
	return output->progress_ms;
}
