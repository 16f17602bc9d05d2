#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/trace.h"

static char dir[] = "/tmp/kiln-trace.XXXXXX";

static int setup(void **state _unused_)
{
	unsetenv(TRACE_ENV);
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state _unused_)
{
	trace_init("test", "", NULL);
	return path_remove(dir, NULL);
}

/* The spans of a process' file; the caller drops the array. */
static json_t *spans_of(const char *who, pid_t pid)
{
	_cleanup_free_ char *path = xasprintf("%s/deep/%s-%d.jsonl", dir, who, (int)pid);
	_cleanup_free_ char *text = NULL;
	json_t *spans = json_array();
	char *rest;

	if (file_read(path, 65536, &text, NULL, NULL) < 0)
		return spans;
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		json_t *object = json_loads(line, 0, NULL), *service, *span;
		assert_int_equal(json_unpack(object, "{s:[{s:{s:[{s:{s:o}}]}, s:[{s:[o]}]}]}",
					     "resourceSpans", "resource", "attributes", "value",
					     "stringValue", &service, "scopeSpans", "spans", &span),
				 0);
		json_object_set(span, "service", service);
		json_array_append(spans, span);
		json_decref(object);
	}
	return spans;
}

static const char *string_at(json_t *spans, size_t i, const char *key)
{
	return json_string_value(json_object_get(json_array_get(spans, i), key));
}

static uint64_t time_at(json_t *spans, size_t i, const char *key)
{
	return strtoull(string_at(spans, i, key), NULL, 10);
}

static const char *attribute_at(json_t *spans, size_t i, const char *key)
{
	const json_t *item;
	size_t j;

	json_array_foreach (json_object_get(json_array_get(spans, i), "attributes"), j, item)
		if (str_equal(json_string_value(json_object_get(item, "key")), key))
			return json_string_value(
				json_object_get(json_object_get(item, "value"), "stringValue"));
	return NULL;
}

static void trace_to_folder(const char *id)
{
	_cleanup_free_ char *deep = path_join(dir, "deep");

	(void)path_remove(deep, NULL);
	setenv(TRACE_ENV, deep, 1);
	trace_init("test", NULL, id);
	unsetenv(TRACE_ENV);
	assert_true(trace_on);
}

static void test_off(void **state _unused_)
{
	char parent[TRACEPARENT_SIZE];

	trace_init("test", NULL, "s1");
	assert_false(trace_on);
	const struct trace_span span = trace_begin();
	assert_true(span.begin_ns == 0);
	trace_end(TRACE_CLAIM, NULL, &span);
	assert_false(trace_parent(parent));

	json_t *spans = spans_of("test", getpid());
	assert_int_equal(json_array_size(spans), 0);
	json_decref(spans);
}

static void test_spans(void **state _unused_)
{
	trace_to_folder("s1");
	struct trace_span span = trace_begin();
	errno = E2BIG;
	trace_end(TRACE_CLAIM, NULL, &span);
	assert_int_equal(errno, E2BIG);
	span = trace_begin();
	trace_end_as(TRACE_EXIT, "s2", &span,
		     &(struct trace_detail){ .error = "a \"sentence\"\n\xff\\",
					     .template_id = "t1",
					     .origin = "pooled" });

	json_t *spans = spans_of("test", getpid());
	assert_int_equal(json_array_size(spans), 2);
	assert_string_equal(string_at(spans, 0, "service"), "kiln-test");
	assert_string_equal(string_at(spans, 0, "name"), "claim");
	assert_string_equal(attribute_at(spans, 0, "kiln.sandbox"), "s1");
	assert_int_equal(strlen(string_at(spans, 0, "traceId")), 32);
	assert_int_equal(strlen(string_at(spans, 0, "spanId")), 16);
	assert_null(string_at(spans, 0, "parentSpanId"));
	assert_true(time_at(spans, 0, "endTimeUnixNano") >= time_at(spans, 0, "startTimeUnixNano"));
	assert_null(json_object_get(json_array_get(spans, 0), "status"));
	/* Without a caller and a root, each is a trace. */
	assert_string_not_equal(string_at(spans, 0, "traceId"), string_at(spans, 1, "traceId"));
	assert_string_equal(attribute_at(spans, 1, "kiln.sandbox"), "s2");
	assert_string_equal(attribute_at(spans, 1, "kiln.template"), "t1");
	assert_string_equal(attribute_at(spans, 1, "kiln.origin"), "pooled");
	assert_null(attribute_at(spans, 1, "kiln.machine"));
	const json_t *status = json_object_get(json_array_get(spans, 1), "status");
	assert_int_equal(json_integer_value(json_object_get(status, "code")), 2);
	assert_string_equal(json_string_value(json_object_get(status, "message")),
			    "a \"sentence\"??\\");
	json_decref(spans);
}

static void test_parents(void **state _unused_)
{
	static const char caller[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
	struct trace_context context = {}, outer;
	char text[TRACEPARENT_SIZE], sent[TRACEPARENT_SIZE];

	trace_to_folder("s1");
	assert_int_equal(trace_context_parse(caller, &context), 0);
	outer = trace_enter(&context);
	struct trace_span call = trace_begin();
	struct trace_context inside = trace_enter(&call.self);
	const struct trace_span step = trace_begin();
	assert_true(trace_parent(sent));
	(void)trace_enter(&inside);
	(void)trace_enter(&outer);
	trace_end(TRACE_STORAGE, NULL, &step);
	trace_end(TRACE_CREATE, NULL, &call);
	assert_false(trace_parent(text));

	json_t *spans = spans_of("test", getpid());
	assert_string_equal(string_at(spans, 1, "traceId"), "0af7651916cd43dd8448eb211c80319c");
	assert_string_equal(string_at(spans, 1, "parentSpanId"), "b7ad6b7169203331");
	assert_int_equal(json_integer_value(json_object_get(json_array_get(spans, 1), "kind")), 2);
	assert_string_equal(string_at(spans, 0, "traceId"), string_at(spans, 1, "traceId"));
	assert_string_equal(string_at(spans, 0, "parentSpanId"), string_at(spans, 1, "spanId"));
	assert_int_equal(json_integer_value(json_object_get(json_array_get(spans, 0), "kind")), 1);
	assert_memory_equal(sent + 36, string_at(spans, 1, "spanId"), 16);
	json_decref(spans);
}

/* A caller that does not record has nothing recorded, however deep. */
static void test_not_sampled(void **state _unused_)
{
	static const char caller[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
	struct trace_context context = {}, outer, inside;

	trace_to_folder("s1");
	assert_int_equal(trace_context_parse(caller, &context), 0);
	outer = trace_enter(&context);
	const struct trace_span call = trace_begin();
	inside = trace_enter(&call.self);
	const struct trace_span step = trace_begin();
	(void)trace_enter(&inside);
	(void)trace_enter(&outer);
	trace_end(TRACE_STORAGE, NULL, &step);
	trace_end(TRACE_CREATE, NULL, &call);

	json_t *spans = spans_of("test", getpid());
	assert_int_equal(json_array_size(spans), 0);
	json_decref(spans);
}

/* In a child, for a process has a root for good. */
static void trace_below_a_root(void)
{
	static const char caller[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
	struct trace_context context = {}, outer;
	char sent[TRACEPARENT_SIZE];

	setenv(TRACE_ENV, dir, 1);
	trace_root_new(clock_monotonic_ns());
	unsetenv(TRACE_ENV);
	trace_to_folder("s3");
	struct trace_span span = trace_begin();
	outer = trace_enter(&span.self);
	(void)trace_parent(sent);
	(void)trace_enter(&outer);
	trace_end(TRACE_CREATE_CONTAINER, NULL, &span);
	(void)trace_context_parse(caller, &context);
	outer = trace_enter(&context);
	const struct trace_span foreign = trace_begin();
	(void)trace_enter(&outer);
	trace_end(TRACE_DELETE, NULL, &foreign);
	const struct trace_record records[] = {
		{ .step = TRACE_STORAGE, .end_ns = 1000, .dur_ns = 7, .caller = span.self.span_id },
		{ .step = TRACE_CREATE_CONTAINER, .end_ns = 1001, .caller = span.self.span_id },
		{ .step = TRACE_STORAGE, .end_ns = 1000, .caller = 4711 },
		{ .step = TRACE_CLONE, .end_ns = 1000, .dur_ns = UINT64_MAX },
	};
	trace_write_foreign("agent", records, ARRAY_SIZE(records), 1000 + 5000000000);
	trace_root_end("it was lost");
	trace_root_end(NULL);
}

static void test_root_and_guest(void **state _unused_)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		trace_below_a_root();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);

	json_t *spans = spans_of("test", pid);
	assert_int_equal(json_array_size(spans), 6);
	const char *root = string_at(spans, 5, "spanId"), *trace = string_at(spans, 5, "traceId");
	assert_string_equal(string_at(spans, 5, "name"), "sandbox");
	assert_non_null(json_object_get(json_array_get(spans, 5), "status"));
	assert_string_equal(string_at(spans, 0, "parentSpanId"), root);
	assert_string_equal(string_at(spans, 0, "traceId"), trace);
	assert_null(json_object_get(json_array_get(spans, 0), "links"));
	/* In its caller's trace, with a link to the sandbox's. */
	const json_t *links = json_object_get(json_array_get(spans, 1), "links");
	assert_string_equal(string_at(spans, 1, "parentSpanId"), "b7ad6b7169203331");
	assert_string_equal(json_string_value(json_object_get(json_array_get(links, 0), "spanId")),
			    root);
	/* The guest's: the call below the one that we sent, its steps below that. */
	assert_string_equal(string_at(spans, 3, "service"), "kiln-agent");
	assert_string_equal(string_at(spans, 3, "parentSpanId"), string_at(spans, 0, "spanId"));
	assert_string_equal(string_at(spans, 2, "parentSpanId"), string_at(spans, 3, "spanId"));
	assert_true(time_at(spans, 2, "endTimeUnixNano") - time_at(spans, 2, "startTimeUnixNano") ==
		    7);
	/* Of a call that nobody sent: below the root. Of a time that never was: nowhere. */
	assert_string_equal(string_at(spans, 4, "parentSpanId"), root);
	assert_string_equal(string_at(spans, 4, "traceId"), trace);
	/* Five seconds ago by its clock is five seconds ago by ours. */
	assert_in_range(time_at(spans, 5, "endTimeUnixNano") - time_at(spans, 2, "endTimeUnixNano"),
			4000000000, 6000000000);
	json_decref(spans);
}

static void test_child_has_its_own_file(void **state _unused_)
{
	_cleanup_free_ char *deep = path_join(dir, "deep");
	int status;

	trace_init("parent", deep, NULL);
	pid_t pid = fork();

	if (pid == 0) {
		trace_init("child", deep, "s3");
		const struct trace_span span = trace_begin();
		trace_end(TRACE_CLAIM, NULL, &span);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);

	json_t *spans = spans_of("child", pid);
	assert_int_equal(json_array_size(spans), 1);
	assert_string_equal(attribute_at(spans, 0, "kiln.sandbox"), "s3");
	json_decref(spans);
}

static void test_bad_target_is_off(void **state _unused_)
{
	_cleanup_free_ char *long_path = xasprintf(TRACE_SOCKET "/%0200d", 1);

	trace_init("test", "relative", NULL);
	assert_false(trace_on);
	trace_init("test", "/proc/self/cmdline/x", NULL);
	assert_false(trace_on);
	trace_init("test", long_path, NULL);
	assert_false(trace_on);
}

/* A process keeps its steps for good once it has begun to: the last test. */
static void test_memory(void **state _unused_)
{
	static const char caller[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
	struct trace_context context = {}, outer;
	const struct trace_record *records;

	trace_init("test", "", NULL);
	assert_int_equal(trace_take(&records), 0);
	trace_keep();
	struct trace_span span = trace_begin();
	trace_end(TRACE_CGROUP, NULL, &span);
	assert_int_equal(trace_context_parse(caller, &context), 0);
	outer = trace_enter(&context);
	for (int i = 0; i < TRACE_RECORDS_MAX + 3; i++) {
		span = trace_begin();
		trace_end(TRACE_CLONE, NULL, &span);
	}
	(void)trace_enter(&outer);
	assert_int_equal(trace_take(&records), TRACE_RECORDS_MAX);
	assert_int_equal(records[0].step, TRACE_CGROUP);
	assert_true(records[0].caller == 0);
	assert_int_equal(records[1].step, TRACE_CLONE);
	assert_true(records[1].caller == 0xb7ad6b7169203331);
	assert_true(records[1].dur_ns <= records[1].end_ns);
	assert_int_equal(trace_take(&records), 0);
}

static void test_names(void **state _unused_)
{
	for (int i = 0; i <= TRACE_REMOVE_CONTAINER; i++)
		assert_int_equal(trace_step_from_string(trace_step_to_string((enum trace_step)i)),
				 i);
	assert_int_equal(trace_step_from_string("nothing"), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_off),
		cmocka_unit_test(test_spans),
		cmocka_unit_test(test_parents),
		cmocka_unit_test(test_not_sampled),
		cmocka_unit_test(test_root_and_guest),
		cmocka_unit_test(test_child_has_its_own_file),
		cmocka_unit_test(test_bad_target_is_off),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
