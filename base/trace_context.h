/* Where a call stands in a trace: W3C Trace Context, level 1
 * (https://www.w3.org/TR/trace-context/), header "traceparent":
 *
 *   00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
 *   version, id of the trace, id of the caller's span, flags (bit 0: the caller records)
 *
 * ttRPC carries it as metadata of a request. A caller's "tracestate" is not kept: nobody is called
 * for it but the agent, which does not speak to a collector.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define TRACEPARENT      "traceparent"
#define TRACEPARENT_SIZE 56 /* and the terminator */
#define TRACE_ID_SIZE    16

struct trace_context {
	uint8_t trace_id[TRACE_ID_SIZE];
	uint64_t span_id; /* 0: there is no context */
	bool sampled;     /* else nothing of it is recorded */
	bool remote;      /* another process said so */
};

/* Foreign bytes. -EINVAL: it is none (upper case is none; of a version after 00 only what 00 has is
 * read); ret_context is untouched then. */
_must_check_ int trace_context_parse(const char *text, struct trace_context *ret_context);

void trace_context_format(const struct trace_context *context,
			  char ret_text[static TRACEPARENT_SIZE]);

/* A trace that begins here; its span_id is 0 still. */
void trace_context_new(struct trace_context *ret_context);
