/* The stdin of a process, written by WriteStdin.
 *
 * A write is answered when the process's pipe has taken all of it; until then its bytes stay
 * in the request, so what waits is bounded by the number of writes that may wait. Writes keep
 * their order.
 */
#pragma once

#include "agent/pending.h"
#include "proto/agent.pb-c.h"

struct input;

/* Writes wait until input_attach() or input_end(). */
struct input *input_new(struct loop *loop);

/* Takes fd, the write end. */
void input_attach(struct input *input, int fd);

/* Ends the call, at once or later; FAILED_PRECONDITION where stdin is closed, or nobody will ever
 * read it. request is the call's own. */
void input_write(struct input *input, struct ttrpc_call *call,
		 const Grpc__WriteStreamRequest *request);

/* No further writes; the process sees the end of its stdin after those that wait. On a
 * terminal there is no end to see: the fd is only closed with input_end(). */
void input_close(struct input *input, bool is_terminal);

/* Fails what waits and closes. */
void input_end(struct input *input);
void input_free(struct input *input);
