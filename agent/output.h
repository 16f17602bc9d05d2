/* One output stream of a process (stdout, stderr or a terminal), pulled by ReadStdout.
 *
 * Bytes are read from the pipe only while somebody asks for them, so a slow reader slows the
 * process down and nothing is buffered here. A read waits until there are bytes and then
 * answers with those that are there, nearly 64 KiB at most. After a small answer the next one waits
 * some milliseconds, so that a program that writes line by line is not answered line by line: what
 * it writes meanwhile is in the pipe. An empty answer means the end of output: every writer has
 * closed the pipe (for a terminal: every process has closed it), and all that was written has been
 * answered. Later reads get the empty answer again.
 */
#pragma once

#include "agent/pending.h"
#include "proto/agent.pb-c.h"

struct output;

/* Reads wait until output_attach() or output_end(). */
struct output *output_new(struct loop *loop);

/* Takes fd, the read end. */
void output_attach(struct output *output, int fd);

/* Drops what nobody has read and answers waiting reads with the end. */
void output_end(struct output *output);

/* Nobody will read: reads are answered with the end, and what comes is dropped until it ends. */
void output_drop(struct output *output);

/* Ends the call, at once or later. request is the call's own. */
void output_read(struct output *output, struct ttrpc_call *call,
		 const Grpc__ReadStreamRequest *request);

bool output_has_ended(const struct output *output);
void output_free(struct output *output);
