#include "shim/io_output.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"
#include "base/trace.h"
#include "proto/agent.pb-c.h"

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

struct io_output {
	struct loop *loop;
	struct agent_link *agent;
	char *container_id;
	char *exec_id;
	const char *method;
	enum output_state state;
	int fd;                   /* -EBADF: what comes is dropped */
	struct loop_watch *watch; /* paused unless BLOCKED; NULL for a regular file */
	uint8_t *data;            /* owned; BLOCKED only */
	size_t len;
	size_t done; /* of len, taken by the FIFO */
	uint64_t progress_ms;
	void (*on_change)(void *userdata);
	void *userdata;
	uint64_t traced_ns;      /* its first bytes are a step since then; 0: not */
	struct agent_call *read; /* READING only */
};

static int open_target(const char *path, int *ret_fd, struct error *err)
{
	const char *file = str_after(path, "file://");
	int fd;

	if (str_after(path, "binary://"))
		return error_set(err, EOPNOTSUPP,
				 "%s: logging programs (binary://) are not supported; "
				 "use a FIFO or file://",
				 path);
	if (file)
		fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640);
	else
		fd = open(path, O_RDWR | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return error_set_errno(err, errno, "cannot open %s", path);
	*ret_fd = fd;
	return 0;
}

static void output_free(void *userdata)
{
	struct io_output *output = userdata;

	loop_watch_free(output->watch);
	close_fd(output->fd);
	free(output->data);
	free(output->container_id);
	free(output->exec_id);
	free(output);
}

static void set_state(struct io_output *output, enum output_state state)
{
	state_change(&output_states, NULL, output->state, state);
	output->state = state;
	if (output->watch)
		loop_watch_set(output->watch, state == OUTPUT_BLOCKED ? LOOP_WRITE : 0);
	if (state == OUTPUT_ENDED) {
		loop_watch_free(steal_ptr(output->watch));
		output->fd = close_fd(output->fd);
	}
}

static void on_read(const struct ttrpc_reply *reply, void *userdata);

static void read_next(struct io_output *output)
{
	Grpc__ReadStreamRequest request = GRPC__READ_STREAM_REQUEST__INIT;

	request.container_id = output->container_id;
	request.exec_id = output->exec_id;
	request.len = IO_CHUNK;
	if (output->state != OUTPUT_READING)
		set_state(output, OUTPUT_READING);
	output->read = agent_call(output->agent, output->method, &request.base, 0, on_read, output);
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
static bool write_some(struct io_output *output)
{
	while (output->fd >= 0 && output->done < output->len) {
		ssize_t n = write(output->fd, output->data + output->done,
				  output->len - output->done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return false;
		if (n < 0)
			write_failed(output, errno);
		else
			output->done += (size_t)n;
		output->progress_ms = clock_monotonic_ms();
	}
	free(steal_ptr(output->data));
	return true;
}

static void on_writable(int fd _unused_, unsigned events _unused_, void *userdata)
{
	struct io_output *output = userdata;

	if (output->state != OUTPUT_BLOCKED || !write_some(output))
		return;
	read_next(output);
	output->on_change(output->userdata);
}

static void on_read(const struct ttrpc_reply *reply, void *userdata)
{
	struct io_output *output = userdata;
	const Grpc__ReadStreamResponse *response =
		(const Grpc__ReadStreamResponse *)reply->response;

	output->read = NULL;
	output->progress_ms = clock_monotonic_ms();
	if (!response || response->data.len == 0) {
		if (!response)
			log_debug(output->container_id, "%s ended: %s", output->method,
				  reply->message);
		set_state(output, OUTPUT_ENDED);
		output->on_change(output->userdata);
		return;
	}
	if (output->traced_ns)
		trace_end(TRACE_FIRST_OUTPUT, NULL, output->traced_ns);
	output->traced_ns = 0;
	output->data = xmemdup(response->data.data, response->data.len);
	output->len = response->data.len;
	output->done = 0;
	if (write_some(output))
		read_next(output);
	else
		set_state(output, OUTPUT_BLOCKED);
}

int io_output_open(const struct io_options *options, const char *method, const char *path,
		   void (*on_change)(void *userdata), void *userdata, struct io_output **ret_output,
		   struct error *err)
{
	_cleanup_close_ int fd = -EBADF;
	struct io_output *output;
	struct stat st;
	int r;

	if (!str_empty(path)) {
		r = open_target(path, &fd, err);
		if (r < 0)
			return r;
	}
	output = xnew(struct io_output);
	*output = (struct io_output){
		.loop = options->loop,
		.agent = options->agent,
		.container_id = xstrdup(options->container_id),
		.exec_id = xstrdup(options->exec_id),
		.method = method,
		.fd = steal_fd(&fd),
		.on_change = on_change,
		.userdata = userdata,
	};
	if (output->fd >= 0 && fstat(output->fd, &st) == 0 && !S_ISREG(st.st_mode))
		output->watch = loop_watch_new(output->loop, output->fd, 0, on_writable, output);
	*ret_output = output;
	return 0;
}

void io_output_start(struct io_output *output, uint64_t traced_ns)
{
	output->traced_ns = traced_ns;
	read_next(output);
}

void io_output_end(struct io_output *output)
{
	if (!output)
		return;
	agent_call_cancel(steal_ptr(output->read));
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
