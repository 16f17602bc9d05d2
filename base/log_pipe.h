/* The log file of a program whose words an attacker may choose (a VMM: its guest can make it
 * complain). It can neither fill the disk nor keep the processor busy.
 *
 * The program writes to a FIFO beside the file, which a loop moves into the file:
 *
 *   in the FIFO   64 KiB wait (the kernel's bound); what is written beyond it is dropped
 *   to the file   LOG_PIPE_RATE bytes a second
 *   in the file   LOG_PIPE_MAX bytes: the older half is cut off where it would become more
 *
 * The program's end of the FIFO reads as well, so it stays open and keeps what waits when the
 * loop's process ends; the next one that opens the file's FIFO goes on. Nobody need read for the
 * bounds to hold.
 */
#pragma once

#include "base/loop.h"

enum { LOG_PIPE_RATE = 16 * 1024, LOG_PIPE_MAX = 64 * 1024 };

struct log_pipe;

/* The reader of the file's FIFO; makes both where they are not there. */
_must_check_ int log_pipe_new(struct loop *loop, const char *path, struct log_pipe **ret_pipe,
			      struct error *err);

/* For after the program's end: all that waits goes into the file. NULL does nothing. */
void log_pipe_drain(struct log_pipe *pipe);
void log_pipe_free(struct log_pipe *pipe);
DEFINE_CLEANUP(struct log_pipe *, log_pipe_free)

/* The program's end, for its stdout and stderr. Writing to it never waits. The reader has another
 * one, so the program may do to this one what it likes, even make it block. */
_must_check_ int log_pipe_open(const char *path, int *ret_fd, struct error *err);
