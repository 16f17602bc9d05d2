/* Bytes as a traceparent: what is read of it is written as it was. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/trace_context.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = xstrndup((const char *)data, size);
	struct trace_context context = {}, again = {};
	char written[TRACEPARENT_SIZE];

	if (trace_context_parse(text, &context) < 0)
		return 0;
	if (!context.span_id || !context.remote)
		abort();
	trace_context_format(&context, written);
	/* All but the version, and flags that we do not know. */
	if (strlen(written) != TRACEPARENT_SIZE - 1 ||
	    memcmp(written + 2, text + 2, TRACEPARENT_SIZE - 1 - 4) != 0 ||
	    trace_context_parse(written, &again) < 0 || again.span_id != context.span_id ||
	    again.sampled != context.sampled)
		abort();
	return 0;
}
