/* The input of a process: FIFO -> agent. See shim/io.h. */
#pragma once

#include "base/state.h"
#include "shim/io.h"

enum input_state {
	INPUT_IDLE,    /* not started */
	INPUT_READING, /* waits for the FIFO */
	INPUT_WRITING, /* data is on its way to the process */
	INPUT_ENDED,
};
extern const struct state_machine input_states;

struct io_input;

_must_check_ int io_input_open(const struct io_options *options, struct io_input **ret_input,
			       struct error *err);
void io_input_start(struct io_input *input);
/* CloseIO: what the FIFO holds and its present writers send is delivered, then the process sees
 * the end. */
void io_input_close(struct io_input *input);
void io_input_end(struct io_input *input); /* NULL is fine; see io_end() */
/* When the last bytes came, CLOCK_MONOTONIC; 0: none have. */
uint64_t io_input_progress_ms(const struct io_input *input);
