#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/memory.h"
#include "base/trace_context.h"

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define SPAN  "b7ad6b7169203331"

static void a_context_is_read_and_written(void **state _unused_)
{
	struct trace_context context = {};
	char text[TRACEPARENT_SIZE];

	assert_int_equal(trace_context_parse("00-" TRACE "-" SPAN "-01", &context), 0);
	assert_int_equal(context.trace_id[0], 0x0a);
	assert_int_equal(context.trace_id[15], 0x9c);
	assert_true(context.span_id == 0xb7ad6b7169203331);
	assert_true(context.sampled);
	assert_true(context.remote);
	trace_context_format(&context, text);
	assert_string_equal(text, "00-" TRACE "-" SPAN "-01");
}

static void flags_say_whether_it_is_recorded(void **state _unused_)
{
	struct trace_context context = {};
	char text[TRACEPARENT_SIZE];

	assert_int_equal(trace_context_parse("00-" TRACE "-" SPAN "-00", &context), 0);
	assert_false(context.sampled);
	trace_context_format(&context, text);
	assert_string_equal(text + 53, "00");
	/* Bit 1 says that the id is random (level 2); containerd 2.4 passes it on. */
	assert_int_equal(trace_context_parse("00-" TRACE "-" SPAN "-02", &context), 0);
	assert_false(context.sampled);
	assert_int_equal(trace_context_parse("00-" TRACE "-" SPAN "-03", &context), 0);
	assert_true(context.sampled);
	/* Bits of later versions are not ours to pass on. */
	assert_int_equal(trace_context_parse("00-" TRACE "-" SPAN "-ff", &context), 0);
	assert_true(context.sampled);
	trace_context_format(&context, text);
	assert_string_equal(text + 53, "01");
}

static void of_a_later_version_the_beginning_is_read(void **state _unused_)
{
	struct trace_context context = {};

	assert_int_equal(trace_context_parse("cc-" TRACE "-" SPAN "-01", &context), 0);
	assert_int_equal(trace_context_parse("cc-" TRACE "-" SPAN "-01-what", &context), 0);
	assert_int_equal(trace_context_parse("cc-" TRACE "-" SPAN "-01.what", &context), -EINVAL);
	assert_int_equal(trace_context_parse("00-" TRACE "-" SPAN "-01-what", &context), -EINVAL);
	assert_int_equal(trace_context_parse("ff-" TRACE "-" SPAN "-01", &context), -EINVAL);
}

static void what_is_none_is_refused(void **state _unused_)
{
	static const char *const texts[] = {
		"",
		"00",
		"00-" TRACE "-" SPAN "-0",
		"00-" TRACE "-" SPAN "-011",
		"00-" TRACE "-" SPAN "-0g",
		"0x-" TRACE "-" SPAN "-01",
		"00_" TRACE "-" SPAN "-01",
		"00-" TRACE "_" SPAN "-01",
		"00-" TRACE "-" SPAN "_01",
		"00-0AF7651916CD43DD8448EB211C80319C-" SPAN "-01",
		"00-00000000000000000000000000000000-" SPAN "-01",
		"00-" TRACE "-0000000000000000-01",
		" 00-" TRACE "-" SPAN "-0",
	};
	struct trace_context context = {};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_int_equal(trace_context_parse(texts[i], &context), -EINVAL);
	assert_true(context.span_id == 0);
}

static void a_new_trace_has_an_id_of_its_own(void **state _unused_)
{
	struct trace_context one, other;

	trace_context_new(&one);
	trace_context_new(&other);
	assert_memory_not_equal(one.trace_id, other.trace_id, TRACE_ID_SIZE);
	assert_true(one.sampled);
	assert_false(one.remote);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_context_is_read_and_written),
		cmocka_unit_test(flags_say_whether_it_is_recorded),
		cmocka_unit_test(of_a_later_version_the_beginning_is_read),
		cmocka_unit_test(what_is_none_is_refused),
		cmocka_unit_test(a_new_trace_has_an_id_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
