#include "base/stream.h"

#include <errno.h>
#include <event2/buffer.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "base/list.h"
#include "base/memory.h"

#define STREAM_INPUT_MAX (8 * 1024 * 1024)
#define READ_STEP_MIN    4096 /* bytes asked for at once: grows while it is filled */
#define READ_STEP_MAX    (64 * 1024)
#define STREAM_FDS_MAX   64          /* received and not taken yet */
#define CHUNK_MERGE_MAX  (64 * 1024) /* small writes join the last chunk up to this size */

/* Queued output. The descriptors travel with the first byte of data. */
struct chunk {
	TAILQ_ENTRY(chunk) entry;
	char *data; /* owned */
	size_t len, size;
	size_t sent;
	int fds[SOCKET_MAX_FDS]; /* owned, until sent > 0 */
	size_t nfds;
};

TAILQ_HEAD(chunk_list, chunk);

static const char *const stream_state_names[] = {
	[STREAM_OPEN] = "open",     [STREAM_DRAINING] = "draining", [STREAM_ENDING] = "ending",
	[STREAM_FAILED] = "failed", [STREAM_ENDED] = "ended",       [STREAM_FREED] = "freed",
};

static const unsigned stream_next[] = {
	[STREAM_OPEN] = STATE(STREAM_DRAINING) | STATE(STREAM_ENDING) | STATE(STREAM_FAILED) |
			STATE(STREAM_FREED),
	[STREAM_DRAINING] = STATE(STREAM_FAILED) | STATE(STREAM_FREED),
	[STREAM_ENDING] = STATE(STREAM_FAILED) | STATE(STREAM_ENDED) | STATE(STREAM_FREED),
	[STREAM_FAILED] = STATE(STREAM_ENDED) | STATE(STREAM_FREED),
	[STREAM_ENDED] = STATE(STREAM_FREED),
	[STREAM_FREED] = 0,
};
const struct state_machine stream_states = STATE_MACHINE("stream", stream_state_names, stream_next);

/* What the deferred turn is to do. */
enum {
	TURN_DELIVER = 1 << 0, /* input left from before a pause */
	TURN_READ = 1 << 1,    /* after one wake-up's bound, or to ask anew what is ready */
};

struct stream {
	struct loop *loop;        /* borrowed */
	struct loop_watch *watch; /* owned; NULL once ended or freed */
	struct evbuffer *input;   /* owned; lives until the last callback has returned */
	struct chunk_list output; /* owned */
	size_t pending;           /* bytes in output not sent */
	size_t read_step;
	int fds[STREAM_FDS_MAX]; /* owned; oldest first */
	size_t nfds;
	struct stream_options options;
	int fd; /* owned; -EBADF once freed */

	enum stream_state state;
	int end_reason;
	unsigned turn;      /* of TURN_ */
	bool turn_deferred; /* on_turn() will be called */
	bool paused;        /* by the protocol */
	bool write_only;    /* the descriptor */
	bool unwatched;     /* write-only, and readable all the time: reading tells nothing */
};

static void chunk_free(struct chunk *chunk)
{
	for (size_t i = 0; i < chunk->nfds; i++)
		close_fd(chunk->fds[i]);
	free(chunk->data);
	free(chunk);
}

static void drop_output(struct stream *stream)
{
	struct chunk *chunk;

	while ((chunk = TAILQ_FIRST(&stream->output))) {
		TAILQ_REMOVE(&stream->output, chunk, entry);
		chunk_free(chunk);
	}
	stream->pending = 0;
}

static void set_state(struct stream *stream, enum stream_state state)
{
	state_change(&stream_states, NULL, stream->state, state);
	stream->state = state;
}

static bool stream_alive(const struct stream *stream)
{
	return stream->state < STREAM_ENDED;
}

/* More may come from the peer. */
static bool is_reading(const struct stream *stream)
{
	return stream->state == STREAM_OPEN || stream->state == STREAM_DRAINING;
}

static bool wants_reading(const struct stream *stream)
{
	return is_reading(stream) && !stream->paused && !stream->unwatched &&
	       evbuffer_get_length(stream->input) <= stream->options.input_max;
}

/* Readiness is not reported again where it was before: all there is must be read at once. */
static bool must_read_all(const struct stream *stream)
{
	return stream->options.edge || stream->state == STREAM_DRAINING;
}

static void update_watch(struct stream *stream)
{
	unsigned events = 0;

	if (!stream->watch)
		return;
	if (wants_reading(stream))
		events |= LOOP_READ;
	if (stream->pending > 0)
		events |= LOOP_WRITE;
	if (events && stream->options.edge)
		events |= LOOP_EDGE;
	loop_watch_set(stream->watch, events);
}

/* ---------------------------------------------------------------- what is put off */

static void on_turn(void *userdata);

static void defer_turn(struct stream *stream, unsigned what)
{
	stream->turn |= what;
	if (stream->turn_deferred)
		return;
	stream->turn_deferred = true;
	loop_defer(stream->loop, on_turn, stream);
}

static void set_end_reason(struct stream *stream, int reason)
{
	/* Both say that nobody is there any more. */
	stream->end_reason = reason == -EPIPE || reason == -ECONNRESET ? 0 : reason;
}

static void see_end(struct stream *stream, int reason)
{
	set_end_reason(stream, reason);
	set_state(stream, stream->state == STREAM_DRAINING ? STREAM_FAILED : STREAM_ENDING);
}

static void report_end(struct stream *stream)
{
	set_state(stream, STREAM_ENDED);
	loop_watch_free(steal_ptr(stream->watch));
	drop_output(stream);
	stream->options.on_end(stream, stream->end_reason, stream->options.userdata);
}

static void deliver(struct stream *stream)
{
	stream->turn &= ~(unsigned)TURN_DELIVER;
	stream->options.on_data(stream, stream->input, stream->options.userdata);
}

/* After reading: data first, then the end. */
static void settle(struct stream *stream)
{
	if (stream->state == STREAM_FAILED || (stream->state == STREAM_ENDING && !stream->paused))
		report_end(stream);
	else if (stream_alive(stream))
		update_watch(stream);
}

/* ---------------------------------------------------------------- reading */

/* Keeps received descriptors for stream_take_fd(); a peer that sends more than anybody
 * takes is failed. */
static int keep_fds(struct stream *stream, const int *fds, size_t nfds)
{
	if (stream->nfds + nfds > STREAM_FDS_MAX) {
		for (size_t i = 0; i < nfds; i++)
			close_fd(fds[i]);
		return -EPROTO;
	}
	memcpy(stream->fds + stream->nfds, fds, nfds * sizeof(fds[0]));
	stream->nfds += nfds;
	return 0;
}

/* Large reads for bulk, small ones otherwise: the buffer keeps what was reserved, so a peer
 * that trickles must not make it hold many times what it sent. */
static void adapt_read_step(struct stream *stream, size_t got)
{
	if (got >= stream->read_step && stream->read_step < READ_STEP_MAX)
		stream->read_step *= 2;
	else if (got < stream->read_step / 4 && stream->read_step > READ_STEP_MIN)
		stream->read_step /= 2;
}

/* One receive into the input buffer. */
static ssize_t receive(struct stream *stream, bool *ret_filled)
{
	struct evbuffer_iovec space;
	int fds[SOCKET_MAX_FDS];
	size_t nfds = 0;

	if (evbuffer_reserve_space(stream->input, (ssize_t)stream->read_step, &space, 1) != 1)
		return -ENOMEM;
	if (space.iov_len > READ_STEP_MAX)
		space.iov_len = READ_STEP_MAX;

	ssize_t n = socket_receive(stream->fd, space.iov_base, space.iov_len, fds, &nfds);

	*ret_filled = n > 0 && (size_t)n == space.iov_len;
	if (n > 0) {
		space.iov_len = (size_t)n;
		evbuffer_commit_space(stream->input, &space, 1);
		adapt_read_step(stream, (size_t)n);
	}

	int r = keep_fds(stream, fds, nfds);

	return r < 0 ? r : n;
}

/* A write-only descriptor cannot be read, but its reader can go. */
static void check_reader(struct stream *stream)
{
	struct pollfd poll_fd = { .fd = stream->fd };

	if (poll(&poll_fd, 1, 0) > 0 && poll_fd.revents & (POLLERR | POLLHUP | POLLNVAL))
		see_end(stream, 0);
	else
		stream->unwatched = true;
}

static void read_some(struct stream *stream)
{
	size_t total = 0;
	ssize_t n = 1;

	if (stream->write_only) {
		check_reader(stream);
		return;
	}
	while (total < STREAM_READ_MAX && wants_reading(stream)) {
		bool filled = false;

		n = receive(stream, &filled);
		if (n <= 0)
			break;
		total += (size_t)n;
		if (!filled && !must_read_all(stream))
			break;
	}
	if (n == 0 || (n < 0 && n != -EAGAIN))
		see_end(stream, (int)n);
	else if (n > 0 && must_read_all(stream) && wants_reading(stream))
		defer_turn(stream, TURN_READ);
	if (total > 0)
		deliver(stream);
}

/* ---------------------------------------------------------------- writing */

/* The peer takes no more. Its last words may be waiting to be read, so the end is reported
 * when they have been; never from here, which may be within stream_write(). */
static void fail_writing(struct stream *stream, int reason)
{
	bool may_read = is_reading(stream) && !stream->paused && !stream->write_only;

	if (is_reading(stream))
		set_end_reason(stream, reason);
	set_state(stream, may_read ? STREAM_DRAINING : STREAM_FAILED);
	drop_output(stream);
	defer_turn(stream, may_read ? TURN_READ : 0);
}

/* Sends the front of one piece; bytes taken, 0 where the peer takes none now, or an errno. */
static ssize_t send_step(struct stream *stream, const char *data, size_t len, int *fds,
			 size_t *nfds)
{
	ssize_t n = socket_send(stream->fd, data, len, fds, *nfds);

	if (n == -EAGAIN)
		return 0;
	if (n > 0) {
		for (; *nfds > 0; --*nfds)
			close_fd(fds[*nfds - 1]);
	}
	return n;
}

/* The same until the peer takes no more: a virtio-serial port takes 32 KiB at a time. */
static ssize_t send_all(struct stream *stream, const char *data, size_t len, int *fds, size_t *nfds)
{
	size_t done = 0;
	ssize_t n = 1;

	while (done < len && n > 0) {
		n = send_step(stream, data + done, len - done, fds, nfds);
		if (n > 0)
			done += (size_t)n;
	}
	return n < 0 ? n : (ssize_t)done;
}

/* Sends what is queued, as far as the peer takes it; true: all of it. */
static bool flush(struct stream *stream)
{
	struct chunk *chunk;

	while ((chunk = TAILQ_FIRST(&stream->output))) {
		ssize_t n = send_step(stream, chunk->data + chunk->sent, chunk->len - chunk->sent,
				      chunk->fds, &chunk->nfds);

		if (n < 0) {
			fail_writing(stream, (int)n);
			return false;
		}
		if (n == 0)
			return false;
		chunk->sent += (size_t)n;
		stream->pending -= (size_t)n;
		if (chunk->sent < chunk->len)
			continue;
		TAILQ_REMOVE(&stream->output, chunk, entry);
		chunk_free(chunk);
	}
	return true;
}

static void chunk_append(struct chunk *chunk, const char *data, size_t len)
{
	if (chunk->size - chunk->len < len) {
		chunk->size = (chunk->len + len) * 2;
		chunk->data = xrealloc_array(chunk->data, chunk->size, 1);
	}
	memcpy(chunk->data + chunk->len, data, len);
	chunk->len += len;
}

static void enqueue(struct stream *stream, const char *data, size_t len, const int *fds,
		    size_t nfds)
{
	struct chunk *chunk = TAILQ_LAST(&stream->output, chunk_list);

	stream->pending += len;
	if (chunk && nfds == 0 && chunk->len + len <= CHUNK_MERGE_MAX) {
		chunk_append(chunk, data, len);
		return;
	}
	chunk = xnew(struct chunk);
	chunk->data = xmemdup(data, len);
	chunk->len = chunk->size = len;
	if (nfds > 0)
		memcpy(chunk->fds, fds, nfds * sizeof(fds[0]));
	chunk->nfds = nfds;
	TAILQ_INSERT_TAIL(&stream->output, chunk, entry);
}

void stream_write(struct stream *stream, const void *data, size_t len, const int *fds, size_t nfds)
{
	int own[SOCKET_MAX_FDS];
	const char *rest = data;

	if (nfds > SOCKET_MAX_FDS || (nfds > 0 && len == 0))
		abort(); /* cannot be sent as one piece: a mistake of the caller */
	if (nfds > 0)
		memcpy(own, fds, nfds * sizeof(own[0]));

	ssize_t n = -EPIPE;

	if (stream->state == STREAM_OPEN) {
		n = TAILQ_EMPTY(&stream->output) ? send_all(stream, rest, len, own, &nfds) : 0;
		if (n < 0)
			fail_writing(stream, (int)n);
	}
	if (n < 0) {
		while (nfds > 0)
			close_fd(own[--nfds]);
		return;
	}
	if ((size_t)n < len)
		enqueue(stream, rest + n, len - (size_t)n, own, nfds);
	update_watch(stream);
}

/* ---------------------------------------------------------------- the loop's side */

static void on_ready(int fd _unused_, unsigned events, void *userdata)
{
	struct stream *stream = userdata;
	bool had_output = stream->pending > 0;

	if (events & LOOP_WRITE && flush(stream) && had_output && stream->options.on_drained)
		stream->options.on_drained(stream, stream->options.userdata);
	if (events & LOOP_READ && wants_reading(stream))
		read_some(stream);
	settle(stream);
}

/* What may not happen within the caller's call, or not in the same wake-up. */
static void on_turn(void *userdata)
{
	struct stream *stream = userdata;
	unsigned turn = stream->turn;

	stream->turn_deferred = false;
	stream->turn = 0;
	if (turn & TURN_DELIVER && stream_alive(stream) && !stream->paused &&
	    evbuffer_get_length(stream->input) > 0)
		deliver(stream);
	if (turn & TURN_READ && wants_reading(stream))
		read_some(stream);
	if (stream->state == STREAM_DRAINING && !(stream->turn & TURN_READ))
		set_state(stream, STREAM_FAILED);
	settle(stream);
}

/* The protocol drained input outside of on_data: reading may go on. */
static void on_input_changed(struct evbuffer *input _unused_, const struct evbuffer_cb_info *info,
			     void *userdata)
{
	if (info->n_deleted > 0)
		update_watch(userdata);
}

/* ---------------------------------------------------------------- life */

struct stream *stream_new(struct loop *loop, int fd, const struct stream_options *options)
{
	struct stream *stream = xnew(struct stream);
	int r = fd_set_nonblocking(fd);

	TAILQ_INIT(&stream->output);
	stream->loop = loop;
	stream->fd = fd;
	stream->read_step = READ_STEP_MIN;
	stream->options = *options;
	if (stream->options.input_max == 0)
		stream->options.input_max = STREAM_INPUT_MAX;
	stream->write_only = r == 0 && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY;
	stream->input = evbuffer_new();
	evbuffer_add_cb(stream->input, on_input_changed, stream);
	if (r < 0) {
		see_end(stream, r);
		defer_turn(stream, 0);
		return stream;
	}
	stream->watch = loop_watch_new(loop, fd, 0, on_ready, stream);
	update_watch(stream);
	return stream;
}

static void free_later(void *userdata)
{
	struct stream *stream = userdata;

	evbuffer_free(stream->input);
	free(stream);
}

/* The memory goes after the callback that this may be within, and after a turn that is due. */
void stream_free(struct stream *stream)
{
	if (!stream)
		return;
	set_state(stream, STREAM_FREED);
	loop_watch_free(steal_ptr(stream->watch));
	drop_output(stream);
	for (size_t i = 0; i < stream->nfds; i++)
		close_fd(stream->fds[i]);
	stream->nfds = 0;
	stream->fd = close_fd(stream->fd);
	loop_defer(stream->loop, free_later, stream);
}

int stream_detach(struct stream *stream, int *ret_fd)
{
	if (evbuffer_get_length(stream->input) > 0 || stream->pending > 0 || stream->nfds > 0)
		return -EBUSY;
	/* The watch must go before somebody else watches or closes the fd. */
	loop_watch_free(steal_ptr(stream->watch));
	*ret_fd = steal_fd(&stream->fd);
	stream_free(stream);
	return 0;
}

size_t stream_pending(const struct stream *stream)
{
	return stream->pending;
}

void stream_pause(struct stream *stream)
{
	stream->paused = true;
	update_watch(stream);
}

void stream_resume(struct stream *stream)
{
	if (!stream->paused)
		return;
	stream->paused = false;
	if (!stream_alive(stream))
		return;
	if (evbuffer_get_length(stream->input) > 0)
		defer_turn(stream, TURN_DELIVER);
	else if (!is_reading(stream))
		defer_turn(stream, 0);
	update_watch(stream);
}

int stream_take_fd(struct stream *stream)
{
	if (stream->nfds == 0)
		return -EBADF;

	int fd = stream->fds[0];

	stream->nfds--;
	memmove(stream->fds, stream->fds + 1, stream->nfds * sizeof(stream->fds[0]));
	return fd;
}
