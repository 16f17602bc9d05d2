#include "shim/io_input.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "proto/agent.pb-c.h"

#define INPUT_CHUNK (64u << 10) /* a FIFO's usual capacity */

static const char *const input_state_names[] = {
	[INPUT_IDLE] = "idle",
	[INPUT_READING] = "reading",
	[INPUT_WRITING] = "writing",
	[INPUT_ENDED] = "ended",
};

static const unsigned input_next[] = {
	[INPUT_IDLE] = STATE(INPUT_READING) | STATE(INPUT_ENDED),
	[INPUT_READING] = STATE(INPUT_WRITING) | STATE(INPUT_ENDED),
	[INPUT_WRITING] = STATE(INPUT_READING) | STATE(INPUT_ENDED),
	[INPUT_ENDED] = 0,
};
const struct state_machine input_states = STATE_MACHINE("input", input_state_names, input_next);

struct io_input {
	struct loop *loop;
	struct agent_link *agent;
	char *path;
	char *container_id;
	char *exec_id;
	enum input_state state;
	bool closing;             /* CloseIO */
	int fd;                   /* reading end; -EBADF: not started */
	int keeper;               /* a writing end; -EBADF after CloseIO */
	struct loop_watch *watch; /* on fd, paused unless READING */
	uint8_t *data;            /* owned; WRITING only */
	size_t len;
	size_t done;              /* of len, taken by the process */
	struct agent_call *write; /* WRITING only; NULL: refused, and retry runs */
	struct loop_timer *retry;
	uint64_t progress_ms; /* when the last bytes came; 0: none have */
};

static void input_free(void *userdata)
{
	struct io_input *input = userdata;

	loop_watch_free(input->watch);
	loop_timer_free(input->retry);
	close_fd(input->fd);
	close_fd(input->keeper);
	free(input->data);
	free(input->path);
	free(input->container_id);
	free(input->exec_id);
	free(input);
}

static void set_state(struct io_input *input, enum input_state state)
{
	state_change(&input_states, NULL, input->state, state);
	input->state = state;
	if (input->watch)
		loop_watch_set(input->watch, state == INPUT_READING ? LOOP_READ : 0);
	if (state == INPUT_ENDED)
		loop_watch_free(steal_ptr(input->watch));
}

static void close_stdin(struct io_input *input)
{
	Grpc__CloseStdinRequest request = GRPC__CLOSE_STDIN_REQUEST__INIT;

	request.container_id = input->container_id;
	request.exec_id = input->exec_id;
	set_state(input, INPUT_ENDED);
	agent_call(input->agent, "CloseStdin", &request.base, 0, NULL, NULL);
}

static void on_written(const struct ttrpc_reply *reply, void *userdata);

static void write_rest(struct io_input *input)
{
	Grpc__WriteStreamRequest request = GRPC__WRITE_STREAM_REQUEST__INIT;

	request.container_id = input->container_id;
	request.exec_id = input->exec_id;
	request.data.data = input->data + input->done;
	request.data.len = input->len - input->done;
	input->progress_ms = clock_monotonic_ms();
	if (input->state != INPUT_WRITING)
		set_state(input, INPUT_WRITING);
	input->write = agent_call(input->agent, "WriteStdin", &request.base, 0, on_written, input);
}

static void on_retry(void *userdata)
{
	struct io_input *input = userdata;

	if (input->state == INPUT_WRITING)
		write_rest(input);
}

/* The process may have closed its stdin or be gone: nobody is left to write to. The reading end
 * stays open, so that the client does not get SIGPIPE for it. */
static void on_written(const struct ttrpc_reply *reply, void *userdata)
{
	struct io_input *input = userdata;
	const Grpc__WriteStreamResponse *response =
		(const Grpc__WriteStreamResponse *)reply->response;

	input->write = NULL;
	if (reply->code == TTRPC_RESOURCE_EXHAUSTED) {
		loop_timer_start(input->retry, IO_RETRY_MS);
		return;
	}
	if (!response || response->len == 0 || response->len > input->len - input->done) {
		log_debug(input->container_id, "stdin ended: %s", reply->message);
		free(steal_ptr(input->data));
		set_state(input, INPUT_ENDED);
		return;
	}
	input->done += response->len;
	if (input->done < input->len) {
		write_rest(input);
		return;
	}
	free(steal_ptr(input->data));
	set_state(input, INPUT_READING);
}

static void on_readable(int fd, unsigned events _unused_, void *userdata)
{
	struct io_input *input = userdata;
	_cleanup_free_ uint8_t *data = xnew_array(uint8_t, INPUT_CHUNK);
	ssize_t n = read(fd, data, INPUT_CHUNK);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		close_stdin(input);
		return;
	}
	input->data = steal_ptr(data);
	input->len = (size_t)n;
	input->done = 0;
	write_rest(input);
}

int io_input_open(const struct io_options *options, struct io_input **ret_input, struct error *err)
{
	const char *path = options->stdio->in;
	struct io_input *input;

	if (access(path, R_OK | W_OK) < 0)
		return error_set_errno(err, errno, "cannot open stdin %s", path);
	input = xnew(struct io_input);
	*input = (struct io_input){
		.loop = options->loop,
		.agent = options->agent,
		.path = xstrdup(path),
		.container_id = xstrdup(options->container_id),
		.exec_id = xstrdup(options->exec_id),
		.fd = -EBADF,
		.keeper = -EBADF,
	};
	input->retry = loop_timer_new(input->loop, on_retry, input);
	*ret_input = input;
	return 0;
}

static int open_fifo(struct io_input *input)
{
	input->fd = open(input->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (input->fd < 0)
		return -errno;
	input->keeper = open(input->path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	return input->keeper < 0 ? -errno : 0;
}

/* Where CloseIO came first the keeper is let go of again: a FIFO tells of its end only once it has
 * had a writer since it was opened, and what a client has written until then is read before that.
 */
void io_input_start(struct io_input *input)
{
	int r = open_fifo(input);

	if (r < 0) {
		log_warning(input->container_id, "cannot open stdin %s: %s", input->path,
			    strerror(-r));
		close_stdin(input);
		return;
	}
	input->watch = loop_watch_new(input->loop, input->fd, 0, on_readable, input);
	set_state(input, INPUT_READING);
	if (input->closing)
		input->keeper = close_fd(input->keeper);
}

void io_input_close(struct io_input *input)
{
	input->closing = true;
	input->keeper = close_fd(input->keeper);
}

void io_input_end(struct io_input *input)
{
	if (!input)
		return;
	agent_call_cancel(steal_ptr(input->write));
	if (input->state != INPUT_ENDED)
		set_state(input, INPUT_ENDED);
	loop_defer(input->loop, input_free, input);
}

uint64_t io_input_progress_ms(const struct io_input *input)
{
	return input->progress_ms;
}
