/* Spans that wait for a collector: lines of base/trace.h, joined to one ExportTraceServiceRequest.
 *
 * A line is a packet of another process: it is taken where it is a request with one span and no
 * larger than base/trace.h makes them, and what is sent is written anew.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define TRACE_BATCH_MAX 1024 /* spans that wait */
#define TRACE_SEND_MAX  256  /* that are sent together */

struct trace_batch;

struct trace_batch *trace_batch_new(void);
void trace_batch_free(struct trace_batch *batch);

enum trace_taken {
	TRACE_TAKEN,
	TRACE_NO_SPAN, /* it is not what it must be */
	TRACE_FULL,
};

/* ret_lost: how many its process could not send before it. */
enum trace_taken trace_batch_add(struct trace_batch *batch, const char *line, size_t len,
				 uint64_t *ret_lost);
size_t trace_batch_count(const struct trace_batch *batch);

/* The first of them, TRACE_SEND_MAX at most, as a body (the caller frees); they stay until they are
 * dropped. */
char *trace_batch_body(const struct trace_batch *batch, size_t *ret_spans);
void trace_batch_drop(struct trace_batch *batch, size_t spans);
