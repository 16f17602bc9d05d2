#include "factory/api/trace_batch.h"

#include <jansson.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "base/trace.h"

struct trace_batch {
	char *items[TRACE_BATCH_MAX]; /* owned; a ring of ResourceSpans, one span each */
	size_t first, count;
};

struct trace_batch *trace_batch_new(void)
{
	return xnew(struct trace_batch);
}

void trace_batch_free(struct trace_batch *batch)
{
	if (!batch)
		return;
	trace_batch_drop(batch, batch->count);
	free(batch);
}

/* The one element of an array; NULL where it is none, or has another number of them. */
static json_t *only_one(const json_t *object, const char *key)
{
	const json_t *array = json_object_get(object, key);

	return json_array_size(array) == 1 ? json_array_get(array, 0) : NULL;
}

static const json_t *find_span(const json_t *resource)
{
	const json_t *span = only_one(only_one(resource, "scopeSpans"), "spans");

	return json_is_string(json_object_get(span, "traceId")) &&
			       json_is_string(json_object_get(span, "spanId")) &&
			       json_is_string(json_object_get(span, "name"))
		       ? span
		       : NULL;
}

static uint64_t read_lost(const json_t *span)
{
	const json_t *attribute;
	uint64_t lost = 0;
	size_t i;

	json_array_foreach (json_object_get(span, "attributes"), i, attribute) {
		const json_t *value = json_object_get(attribute, "value");
		const char *text = json_string_value(json_object_get(value, "intValue"));
		if (str_equal(json_string_value(json_object_get(attribute, "key")), "kiln.lost") &&
		    text)
			(void)!str_to_u64(text, 0, UINT32_MAX, &lost);
	}
	return lost;
}

enum trace_taken trace_batch_add(struct trace_batch *batch, const char *line, size_t len,
				 uint64_t *ret_lost)
{
	json_t *object = len <= TRACE_LINE_MAX ? json_loadb(line, len, 0, NULL) : NULL;
	json_t *resource = only_one(object, "resourceSpans");
	const json_t *span = find_span(resource);
	enum trace_taken taken = !span                             ? TRACE_NO_SPAN
				 : batch->count == TRACE_BATCH_MAX ? TRACE_FULL
								   : TRACE_TAKEN;

	*ret_lost = span ? read_lost(span) : 0;
	if (taken == TRACE_TAKEN) {
		size_t at = (batch->first + batch->count++) % TRACE_BATCH_MAX;
		batch->items[at] = json_dumps(resource, JSON_COMPACT);
		if (!batch->items[at])
			abort();
	}
	json_decref(object);
	return taken;
}

size_t trace_batch_count(const struct trace_batch *batch)
{
	return batch->count;
}

char *trace_batch_body(const struct trace_batch *batch, size_t *ret_spans)
{
	struct strbuf body = {};
	size_t n = batch->count < TRACE_SEND_MAX ? batch->count : TRACE_SEND_MAX;

	strbuf_adds(&body, "{\"resourceSpans\":[");
	for (size_t i = 0; i < n; i++) {
		strbuf_adds(&body, i > 0 ? "," : "");
		strbuf_adds(&body, batch->items[(batch->first + i) % TRACE_BATCH_MAX]);
	}
	strbuf_adds(&body, "]}");
	*ret_spans = n;
	return strbuf_steal(&body);
}

void trace_batch_drop(struct trace_batch *batch, size_t spans)
{
	for (size_t i = 0; i < spans; i++) {
		free(steal_ptr(batch->items[batch->first]));
		batch->first = (batch->first + 1) % TRACE_BATCH_MAX;
	}
	batch->count -= spans;
}
