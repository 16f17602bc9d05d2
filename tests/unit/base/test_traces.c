/* The ends of the newest files of a folder of traces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
/* After what it needs. */
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "base/traces.h"
#include "tests/unit/folder.h"

static void add_line(struct strbuf *text, const char *id)
{
	strbuf_addf(text,
		    "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\","
		    "\"value\":{\"stringValue\":\"kiln-shim\"}}]},\"scopeSpans\":[{\"spans\":[{"
		    "\"name\":\"claim\",\"startTimeUnixNano\":\"1000000\",\"endTimeUnixNano\":"
		    "\"2000000\",\"attributes\":[{\"key\":\"kiln.sandbox\",\"value\":{"
		    "\"stringValue\":\"%s\"}}]}]}]}]}\n",
		    id);
}

static void write_file(const char *name, const struct strbuf *text, time_t changed)
{
	_cleanup_free_ char *path = path_join(test_folder, name);
	const struct timespec times[] = { { .tv_sec = changed }, { .tv_sec = changed } };

	assert_int_equal(file_write_volatile(path, strbuf_text(text), text->len, 0600, NULL), 0);
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void the_newest_are_read(void **state _unused_)
{
	_cleanup_(traces_done) struct traces traces = {};
	char name[32];

	/* Of the even ones the oldest, of the odd ones the newest are first in time. */
	for (int i = 0; i < TRACES_NEWEST + 10; i++) {
		_cleanup_(strbuf_done) struct strbuf text = {};
		snprintf(name, sizeof(name), "shim-%d.jsonl", i);
		add_line(&text, name);
		write_file(name, &text, i % 2 == 0 ? 1000 + i : 2000 - i);
	}
	/* Whoever traced nothing has left an empty one. */
	write_file("ctl-1.jsonl", &(struct strbuf){}, 3000);
	assert_int_equal(traces_read_newest(test_folder, &traces, NULL), 0);
	assert_int_equal(traces.count, TRACES_NEWEST);
	assert_null(traces_find(&traces, "shim-0.jsonl"));
	assert_null(traces_find(&traces, "shim-18.jsonl"));
	assert_non_null(traces_find(&traces, "shim-20.jsonl"));
	assert_non_null(traces_find(&traces, "shim-1.jsonl"));
	assert_non_null(traces_find(&traces, "shim-41.jsonl"));
}

static void the_end_of_a_long_one_is_read(void **state _unused_)
{
	_cleanup_(traces_done) struct traces traces = {};
	_cleanup_(strbuf_done) struct strbuf text = {};

	add_line(&text, "first");
	while (text.len < TRACES_END + 1000)
		add_line(&text, "middle");
	add_line(&text, "last");
	write_file("factory-1.jsonl", &text, 1000);
	assert_int_equal(traces_read_newest(test_folder, &traces, NULL), 0);
	assert_null(traces_find(&traces, "first"));
	assert_non_null(traces_find(&traces, "last"));
	/* The line that its end begins in is none, and is not counted as a bad one. */
	assert_int_equal(traces.skipped, 0);
}

static void what_is_no_trace_is_left_alone(void **state _unused_)
{
	_cleanup_(traces_done) struct traces traces = {};
	_cleanup_(strbuf_done) struct strbuf text = {};
	_cleanup_free_ char *fifo = path_join(test_folder, "a.jsonl");
	_cleanup_free_ char *link = path_join(test_folder, "b.jsonl");

	add_line(&text, "a");
	write_file("other.txt", &text, 1000);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(symlink("other.txt", link), 0);
	assert_int_equal(traces_read_newest(test_folder, &traces, NULL), 0);
	assert_int_equal(traces.count, 0);
	assert_int_equal(traces_read_newest("/nonexistent", &traces, NULL), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_newest_are_read, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(the_end_of_a_long_one_is_read, folder_setup,
						folder_teardown),
		cmocka_unit_test_setup_teardown(what_is_no_trace_is_left_alone, folder_setup,
						folder_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
