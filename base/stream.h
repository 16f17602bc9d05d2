/* A byte stream with descriptor passing, between the loop and a protocol.
 *
 * It owns the fd (socket, pipe, character device), the partial reads and the queued writes.
 * The protocol sees a buffer that grows, and one end.
 *
 * Backpressure: stream_write() never blocks and never fails; stream_pending() says how much
 * the peer has not taken yet. A protocol that answers a peer stops reading from it
 * (stream_pause) while more than its bound is pending and goes on in on_drained.
 *
 * Reading is bounded: at most STREAM_READ_MAX bytes are taken a wake-up, and reading pauses
 * by itself while the protocol leaves more than options.input_max bytes unconsumed.
 *
 *   state     what it is                                leaves by
 *   OPEN      reads and writes                          a failed write, the peer's end
 *   DRAINING  writing failed, the peer's rest is read   nothing is left: FAILED
 *   ENDING    the peer's end was read                   on_end, after a pause; a failed write
 *   FAILED    writing failed, nothing is left to read   on_end, in a pause too, which the
 *                                                       protocol may be waiting out
 *   ENDED     on_end was called                         stream_free()
 *   FREED     from any state; the memory goes later     the loop
 *
 * On a character device whose other side may come and go (virtio-serial), set options.edge:
 * the end of the stream is then reported once, without spinning on a level-triggered hang-up.
 */
#pragma once

#include <stddef.h>

#include "base/loop.h"
#include "base/socket.h"
#include "base/state.h"

#define STREAM_READ_MAX (256 * 1024)

enum stream_state {
	STREAM_OPEN,
	STREAM_DRAINING,
	STREAM_ENDING,
	STREAM_FAILED,
	STREAM_ENDED,
	STREAM_FREED,
};
extern const struct state_machine stream_states;

struct evbuffer;
struct stream;

struct stream_options {
	/* New bytes: drain what makes whole messages from input, leave the rest. */
	void (*on_data)(struct stream *stream, struct evbuffer *input, void *userdata);
	/* All queued output was taken by the peer; may be NULL. Not called for a write that the
	 * peer took at once: ask stream_pending(). */
	void (*on_drained)(struct stream *stream, void *userdata);
	/* The peer is gone (0) or the stream failed (negative errno). Called once, after all
	 * data the peer left, never from within stream_write(); nothing is called after it. */
	void (*on_end)(struct stream *stream, int reason, void *userdata);
	void *userdata;
	size_t input_max; /* bytes; 0: 8 MiB */
	bool edge;
};

/* Takes fd. */
struct stream *stream_new(struct loop *loop, int fd, const struct stream_options *options);

/* Closes the fd, drops what is queued; no callback follows. Safe inside the stream's own
 * callbacks. */
void stream_free(struct stream *stream);
DEFINE_CLEANUP(struct stream *, stream_free)

/* Queues bytes; fds (taken, closed once sent) travel with the first of them. */
void stream_write(struct stream *stream, const void *data, size_t len, const int *fds, size_t nfds);

size_t stream_pending(const struct stream *stream);

void stream_pause(struct stream *stream);
/* on_data is called again, later, where input was left. */
void stream_resume(struct stream *stream);

/* Oldest descriptor received and not taken yet, or -EBADF; the caller owns it. */
int stream_take_fd(struct stream *stream);

/* Hands the fd over and frees the stream; -EBUSY (nothing changes) while input is unconsumed
 * or output is queued. */
_must_check_ int stream_detach(struct stream *stream, int *ret_fd);
