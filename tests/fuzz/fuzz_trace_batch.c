/* Bytes as packets of the factory's socket for spans: what is taken is sent as JSON. */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "factory/api/trace_batch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct trace_batch *batch = trace_batch_new();
	uint64_t lost;
	size_t spans;

	if (trace_batch_add(batch, (const char *)data, size, &lost) == TRACE_TAKEN) {
		(void)trace_batch_add(batch, (const char *)data, size, &lost);
		_cleanup_free_ char *body = trace_batch_body(batch, &spans);
		json_t *object = json_loads(body, 0, NULL);
		if (!object || spans != 2 ||
		    json_array_size(json_object_get(object, "resourceSpans")) != 2)
			abort();
		json_decref(object);
	}
	trace_batch_free(batch);
	return 0;
}
