#include "agent/output.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

enum {
	OUTPUT_READS_MAX = 16,
	/* The frame is what a virtio-serial port takes in two parts. */
	OUTPUT_FRAME = 64 * 1024,
	OUTPUT_CHUNK = OUTPUT_FRAME - TTRPC_HEADROOM,
	/* A terminal gives 4 KiB at a time. What is less than half of that is worth waiting for
	 * more, for a time that nobody notices. */
	SMALL_ANSWER = 2 * 1024,
	GATHER_MS = 5,
};

struct output {
	struct loop *loop;         /* borrowed */
	struct loop_watch *watch;  /* owned; NULL until first needed */
	struct loop_timer *timer;  /* owned; NULL until first needed */
	struct pending_list reads; /* owned */
	uint64_t gather_until_ms;  /* since a small answer; until then nothing is read */
	int fd;                    /* owned; -EBADF before attach and after the end */
	bool ended;
	bool is_dropped; /* nobody reads */
};

/* Shared by all streams: what is in it is sent, copied or dropped before it is used again. */
static uint8_t frame[OUTPUT_FRAME];

static void pump(struct output *output);

struct output *output_new(struct loop *loop)
{
	struct output *output = xnew(struct output);

	output->loop = loop;
	output->fd = -EBADF;
	pending_init(&output->reads, NULL, NULL);
	return output;
}

static void answer_end(struct ttrpc_call *call)
{
	Grpc__ReadStreamResponse response = GRPC__READ_STREAM_RESPONSE__INIT;

	ttrpc_call_reply(call, &response.base);
}

void output_end(struct output *output)
{
	struct ttrpc_call *call;

	output->ended = true;
	loop_watch_free(steal_ptr(output->watch));
	loop_timer_free(steal_ptr(output->timer));
	output->fd = close_fd(output->fd);
	while ((call = pending_take(&output->reads)))
		answer_end(call);
}

/* A part at a time: others want the agent too. */
static void drop_some(struct output *output)
{
	ssize_t n = read(output->fd, frame, sizeof(frame));

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		output_end(output);
}

static void on_readable(int fd _unused_, unsigned events _unused_, void *userdata)
{
	struct output *output = userdata;

	if (output->is_dropped)
		drop_some(output);
	else
		pump(output);
}

/* A read nobody waits for any more leaves the queue by itself, so the watch is set anew here
 * and not only where a read arrives. */
static void watch_update(struct output *output)
{
	unsigned events = output->is_dropped || pending_first(&output->reads) ? LOOP_READ : 0;

	if (output->watch)
		loop_watch_set(output->watch, events);
	else if (events)
		output->watch = loop_watch_new(output->loop, output->fd, events, on_readable,
					       output);
}

static size_t wanted(const struct pending *read)
{
	const Grpc__ReadStreamRequest *request = (const Grpc__ReadStreamRequest *)read->request;

	return request->len < OUTPUT_CHUNK ? request->len : OUTPUT_CHUNK;
}

static void on_gathered(void *userdata)
{
	pump(userdata);
}

/* True where the program shall write more before it is read again: small writes are answered
 * together, for each answer costs as much as a large one. */
static bool is_gathering(struct output *output)
{
	uint64_t now = clock_monotonic_ms();

	if (now >= output->gather_until_ms)
		return false;
	if (!output->timer)
		output->timer = loop_timer_new(output->loop, on_gathered, output);
	loop_timer_start(output->timer, output->gather_until_ms - now);
	if (output->watch)
		loop_watch_set(output->watch, 0);
	return true;
}

/* All that is there, up to len: a terminal gives it in pieces. */
static ssize_t read_all(int fd, uint8_t *data, size_t len)
{
	size_t done = 0;
	ssize_t n = 1;

	while (done < len && n > 0) {
		n = read(fd, data + done, len - done);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n > 0)
			done += (size_t)n;
	}
	return done > 0 ? (ssize_t)done : n;
}

/* Answers the reads that wait with the bytes that are there. */
static void pump(struct output *output)
{
	uint8_t *chunk = frame + TTRPC_HEADROOM;
	struct pending *first;

	while ((first = pending_first(&output->reads))) {
		if (is_gathering(output))
			return;

		ssize_t n = read_all(output->fd, chunk, wanted(first));

		if (n > 0) {
			ttrpc_call_reply_bytes(pending_take(&output->reads), chunk, (size_t)n);
			if (n < SMALL_ANSWER)
				output->gather_until_ms = clock_monotonic_ms() + GATHER_MS;
			continue;
		}
		if (n < 0 && errno == EAGAIN)
			break;
		/* The master of a terminal that nobody has open any more fails with EIO. */
		if (n < 0 && errno != EIO)
			log_warning(NULL, "output ends early: %s", strerror(errno));
		output_end(output);
		return;
	}
	watch_update(output);
}

void output_attach(struct output *output, int fd)
{
	if (output->ended) {
		close_fd(fd);
		return;
	}
	output->fd = fd;
	pump(output);
}

void output_drop(struct output *output)
{
	struct ttrpc_call *call;

	if (output->ended)
		return;
	output->is_dropped = true;
	loop_timer_free(steal_ptr(output->timer));
	while ((call = pending_take(&output->reads)))
		answer_end(call);
	if (output->fd >= 0)
		watch_update(output);
}

void output_read(struct output *output, struct ttrpc_call *call,
		 const Grpc__ReadStreamRequest *request)
{
	if (output->ended || output->is_dropped) {
		answer_end(call);
		return;
	}
	if (request->len == 0) {
		ttrpc_call_fail_code(call, TTRPC_INVALID_ARGUMENT, "cannot read 0 bytes");
		return;
	}
	if (pending_add(&output->reads, OUTPUT_READS_MAX, call, &request->base) < 0) {
		ttrpc_call_fail_code(call, TTRPC_RESOURCE_EXHAUSTED,
				     "%d reads of this stream wait already", OUTPUT_READS_MAX);
		return;
	}
	if (output->fd >= 0)
		pump(output);
}

bool output_has_ended(const struct output *output)
{
	return output->ended;
}

void output_free(struct output *output)
{
	if (!output)
		return;
	output_end(output);
	free(output);
}
