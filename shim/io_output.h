/* One output stream of a process: agent -> FIFO or log file. See shim/io.h. */
#pragma once

#include "base/state.h"
#include "base/trace.h"
#include "shim/io.h"

enum output_state {
	OUTPUT_IDLE,    /* not started */
	OUTPUT_READING, /* reads wait in the guest */
	OUTPUT_BLOCKED, /* data waits for the FIFO's reader */
	OUTPUT_ENDED,
};
extern const struct state_machine output_states;

struct io_output;

/* Opens the FIFO or log file that path names; *ret_fd is -EBADF where path is "": what comes is
 * dropped then. */
_must_check_ int io_output_open(const char *path, int *ret_fd, struct error *err);

/* method: "ReadStdout" or "ReadStderr". fd is taken. on_change is called from the loop when the
 * stream has ended or the FIFO has taken what was blocked. */
struct io_output *io_output_new(const struct io_options *options, const char *method, int fd,
				void (*on_change)(void *userdata), void *userdata);
/* traced: the step of a trace (base/trace.h) that its first bytes are the end of; NULL: none. */
void io_output_start(struct io_output *output, const struct trace_span *traced);
void io_output_end(struct io_output *output); /* NULL is fine; see io_end() */

bool io_output_ended(const struct io_output *output);           /* or never started */
bool io_output_blocked(const struct io_output *output);         /* the FIFO's reader is slow */
uint64_t io_output_progress_ms(const struct io_output *output); /* last data, monotonic */
