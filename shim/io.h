/* The standard streams of one process: containerd's FIFOs on one side, the agent's calls on the
 * other.
 *
 * Output: ReadStdout (ReadStderr) waits in the guest; the next one is sent when the FIFO has taken
 * all of the last, so a slow reader slows the container. Where there is much to read, IO_READS of
 * them are under way, so a stream costs at most IO_READS times IO_CHUNK bytes here. Empty data is
 * the end of a stream: the FIFO is closed then, which its reader sees. A path without FIFO ("") is
 * read and dropped, for a container must not block on it. A stream is opened for reading too, as
 * containerd's own shims do: a reader that comes late or leaves and comes back finds the FIFO, and
 * nothing blocks and nothing gets SIGPIPE. One that comes when all has ended finds what was
 * written, and the end (shim/late_reader.h). "file:///PATH" is a log file that is appended to;
 * "binary:///PATH" as stdout is a program that gets both streams (shim/log_program.h).
 *
 * Input: one WriteStdin at a time. The FIFO is opened when the process runs, for its writer waits
 * for that, and ctr cannot call CloseIO before. A writing end is kept open here until CloseIO, so
 * that writers come and go: a client detaches and another attaches, containerd is started anew. The
 * process sees the end when the last writer has closed the FIFO after CloseIO, which may also come
 * before the process runs.
 *
 * A call that is refused because there are too many, or because they hold too much, is made again
 * after IO_RETRY_MS: RESOURCE_EXHAUSTED says nothing of the stream.
 *
 * After the process's exit io_settle() tells when its output counts as delivered: all streams
 * ended; or those that did not are kept open by somebody else (nothing came for IO_IDLE_MS); or
 * IO_SETTLE_MS have passed. Copying goes on after that until io_end().
 */
#pragma once

#include <stdbool.h>

#include "base/trace.h"
#include "shim/agent_link.h"

#define IO_CHUNK     (64u << 10)
#define IO_READS     4
#define IO_RETRY_MS  100
#define IO_IDLE_MS   1000
#define IO_SETTLE_MS 10000

/* Strings owned; "" or NULL: no such stream. */
struct stdio {
	char *in;
	char *out;
	char *err;
	bool terminal;
};

void stdio_done(struct stdio *stdio);

struct io;

struct io_options {
	struct loop *loop;
	struct agent_link *agent; /* borrowed */
	const char *container_id; /* copied */
	const char *exec_id;      /* copied */
	const char *ns;           /* containerd's namespace, for logging programs */
	const struct stdio *stdio;
	void (*on_settled)(void *userdata); /* once, after io_settle(), from the loop */
	void *userdata;
};

/* Opens the outputs' FIFOs; nothing is copied yet. Errors name the stream and its path. */
_must_check_ int io_open(const struct io_options *options, struct io **ret_io, struct error *err);

/* The process runs: copy. traced: see io_output_start(). */
void io_start(struct io *io, const struct trace_span *traced);

bool io_outputs_ended(const struct io *io);

/* When bytes last moved, either way, CLOCK_MONOTONIC; 0: they never have. */
uint64_t io_progress_ms(const struct io *io);

/* CloseIO. */
void io_close_stdin(struct io *io);

void io_settle(struct io *io);

/* Stops copying, closes the FIFOs; no callback follows. */
void io_end(struct io *io);
