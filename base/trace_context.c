#include "base/trace_context.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/id.h"
#include "base/strings.h"

enum {
	VERSION_AT = 0,
	TRACE_AT = 3,
	SPAN_AT = 36,
	FLAGS_AT = 53,
	LENGTH = TRACEPARENT_SIZE - 1,
	BYTE_DIGITS = 2,
	SPAN_BYTES = 8,
	FLAG_SAMPLED = 0x01,
	VERSION_INVALID = 0xff,
};

static bool read_byte(const char *at, uint8_t *ret_byte)
{
	static const char digits[] = "0123456789abcdef";
	const char *high = at[0] ? strchr(digits, at[0]) : NULL;
	const char *low = high && at[1] ? strchr(digits, at[1]) : NULL;

	if (!low)
		return false;
	*ret_byte = (uint8_t)((high - digits) << 4 | (low - digits));
	return true;
}

static bool read_bytes(const char *at, uint8_t *bytes, size_t n)
{
	bool any = false;

	for (size_t i = 0; i < n; i++) {
		if (!read_byte(at + i * BYTE_DIGITS, &bytes[i]))
			return false;
		any |= bytes[i] != 0;
	}
	return any;
}

static bool has_form(const char *text, uint8_t version)
{
	size_t length = strnlen(text, TRACEPARENT_SIZE);

	return text[TRACE_AT - 1] == '-' && text[SPAN_AT - 1] == '-' && text[FLAGS_AT - 1] == '-' &&
	       (length == LENGTH || (version > 0 && text[LENGTH] == '-'));
}

int trace_context_parse(const char *text, struct trace_context *ret_context)
{
	struct trace_context context = { .remote = true };
	uint8_t span[SPAN_BYTES], version, flags;

	if (strnlen(text, LENGTH) < LENGTH || !read_byte(text + VERSION_AT, &version) ||
	    version == VERSION_INVALID || !has_form(text, version) ||
	    !read_bytes(text + TRACE_AT, context.trace_id, TRACE_ID_SIZE) ||
	    !read_bytes(text + SPAN_AT, span, SPAN_BYTES) || !read_byte(text + FLAGS_AT, &flags))
		return -EINVAL;
	for (size_t i = 0; i < SPAN_BYTES; i++)
		context.span_id = context.span_id << 8 | span[i];
	context.sampled = flags & FLAG_SAMPLED;
	*ret_context = context;
	return 0;
}

void trace_context_format(const struct trace_context *context,
			  char ret_text[static TRACEPARENT_SIZE])
{
	char *at = ret_text + TRACE_AT;

	memcpy(ret_text, "00-", TRACE_AT);
	for (size_t i = 0; i < TRACE_ID_SIZE; i++, at += BYTE_DIGITS)
		(void)snprintf(at, BYTE_DIGITS + 1, "%02x", context->trace_id[i]);
	(void)snprintf(at, TRACEPARENT_SIZE - (size_t)(at - ret_text), "-%016" PRIx64 "-%02x",
		       context->span_id, context->sampled ? FLAG_SAMPLED : 0);
}

void trace_context_new(struct trace_context *ret_context)
{
	*ret_context = (struct trace_context){ .sampled = true };
	random_bytes(ret_context->trace_id, TRACE_ID_SIZE);
	ret_context->trace_id[0] |= 1; /* all zeros are no id */
}
