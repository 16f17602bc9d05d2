#include "agent/input.h"

#include "base/memory.h"

enum { INPUT_WRITES_MAX = 16 };

struct input {
	struct loop *loop;          /* borrowed */
	struct loop_watch *watch;   /* owned; NULL until first needed */
	struct pending_list writes; /* owned */
	int fd;                     /* owned; -EBADF before attach and after the end */
	bool closing;               /* no further writes are accepted */
	bool keep_fd;               /* of a terminal, whose fd means more than stdin */
};

static void pump(struct input *input);

static void on_write_cancelled(void *userdata)
{
	struct input *input = userdata;

	if (input->fd >= 0)
		pump(input);
}

struct input *input_new(struct loop *loop)
{
	struct input *input = xnew(struct input);

	input->loop = loop;
	input->fd = -EBADF;
	pending_init(&input->writes, on_write_cancelled, input);
	return input;
}

static void answer(struct ttrpc_call *call, size_t len)
{
	Grpc__WriteStreamResponse response = GRPC__WRITE_STREAM_RESPONSE__INIT;

	response.len = (uint32_t)len;
	ttrpc_call_reply(call, &response.base);
}

static void refuse(struct ttrpc_call *call)
{
	ttrpc_call_fail_code(call, TTRPC_FAILED_PRECONDITION,
			     "cannot write: the process's stdin is closed");
}

void input_end(struct input *input)
{
	struct ttrpc_call *call;

	input->closing = true;
	loop_watch_free(steal_ptr(input->watch));
	input->fd = close_fd(input->fd);
	while ((call = pending_take(&input->writes)))
		refuse(call);
}

static void on_writable(int fd _unused_, unsigned events _unused_, void *userdata)
{
	pump(userdata);
}

static void watch_update(struct input *input)
{
	unsigned events = pending_first(&input->writes) ? LOOP_WRITE : 0;

	if (input->watch)
		loop_watch_set(input->watch, events);
	else if (events)
		input->watch = loop_watch_new(input->loop, input->fd, events, on_writable, input);
}

/* Writes what the pipe takes of the first write. Positive: go on with the next. */
static int write_first(struct input *input, struct pending *first)
{
	const Grpc__WriteStreamRequest *request = (const Grpc__WriteStreamRequest *)first->request;
	const ProtobufCBinaryData *data = &request->data;

	while (first->done < data->len) {
		ssize_t n = write(input->fd, data->data + first->done, data->len - first->done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		first->done += (size_t)n;
	}
	answer(pending_take(&input->writes), data->len);
	return 1;
}

static void pump(struct input *input)
{
	struct pending *first;
	int r = 1;

	while (r > 0 && (first = pending_first(&input->writes)))
		r = write_first(input, first);
	if ((r < 0 && r != -EAGAIN) || (r > 0 && input->closing && !input->keep_fd))
		input_end(input);
	else
		watch_update(input);
}

void input_attach(struct input *input, int fd)
{
	input->fd = fd;
	pump(input);
}

void input_write(struct input *input, struct ttrpc_call *call,
		 const Grpc__WriteStreamRequest *request)
{
	if (input->closing) {
		refuse(call);
		return;
	}
	if (pending_add(&input->writes, INPUT_WRITES_MAX, call, &request->base) < 0) {
		ttrpc_call_fail_code(call, TTRPC_RESOURCE_EXHAUSTED,
				     "%d writes to this process wait already", INPUT_WRITES_MAX);
		return;
	}
	if (input->fd >= 0)
		pump(input);
}

void input_close(struct input *input, bool is_terminal)
{
	input->closing = true;
	input->keep_fd = is_terminal;
	if (input->fd >= 0)
		pump(input);
}

void input_free(struct input *input)
{
	if (!input)
		return;
	input_end(input);
	free(input);
}
