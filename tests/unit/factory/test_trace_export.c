/* Spans on their way to a collector: which packets are taken, what is sent, and what becomes of
 * them while the collector is away, hangs or refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/strbuf.h"
#include "base/trace.h"
#include "factory/api/trace_batch.h"
#include "factory/api/trace_export.h"
#include "factory/base/collector.h"

#define LINE(attributes)                                                                           \
	"{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"traceId\":\"a\",\"spanId\":\"b\","    \
	"\"name\":\"claim\",\"attributes\":[" attributes "]}]}]}]}\n"

/* ---------------------------------------------------------------- the key */

static void collectors_have_an_address_in_numbers(void **state _unused_)
{
	static const char *const refused[] = {
		"",
		"127.0.0.1:4318",
		"https://127.0.0.1",
		"http://",
		"http://collector.example",
		"http://127.0.0.1:0",
		"http://127.0.0.1:65536",
		"http://127.0.0.1:",
		"http://127.0.0.1/a b",
		"http://[::1]:4318/",
	};
	struct collector collector = {};

	assert_int_equal(collector_parse("http://10.0.0.7:80/x/y", &collector, NULL), 0);
	assert_string_equal(collector.address, "10.0.0.7");
	assert_int_equal(collector.port, 80);
	assert_string_equal(collector.path, "/x/y");
	collector_done(&collector);
	assert_int_equal(collector_parse("http://localhost", &collector, NULL), 0);
	assert_string_equal(collector.address, "127.0.0.1");
	assert_int_equal(collector.port, 4318);
	assert_string_equal(collector.path, "/v1/traces");
	collector_done(&collector);
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		assert_int_equal(collector_parse(refused[i], &collector, NULL), -EINVAL);
}

/* ---------------------------------------------------------------- what waits */

static enum trace_taken add(struct trace_batch *batch, const char *line, uint64_t *ret_lost)
{
	return trace_batch_add(batch, line, strlen(line), ret_lost);
}

static void only_a_span_is_taken(void **state _unused_)
{
	static const char *const refused[] = {
		"",
		"{",
		"[]",
		"{\"resourceSpans\":[]}",
		"{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{}]}]}]}",
		"{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"traceId\":1,\"spanId\":\"b\","
		"\"name\":\"c\"}]}]}]}",
		LINE("") LINE(""),
	};
	struct trace_batch *batch = trace_batch_new();
	_cleanup_free_ char *large = xasprintf(LINE("\"%*s\""), TRACE_LINE_MAX, "");
	uint64_t lost;

	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		assert_int_equal(add(batch, refused[i], &lost), TRACE_NO_SPAN);
	assert_int_equal(add(batch, large, &lost), TRACE_NO_SPAN);
	assert_int_equal(trace_batch_count(batch), 0);
	trace_batch_free(batch);
}

static void what_waits_is_bounded_and_sent_in_order(void **state _unused_)
{
	struct trace_batch *batch = trace_batch_new();
	uint64_t lost;
	size_t spans;

	for (int i = 0; i < TRACE_BATCH_MAX; i++) {
		_cleanup_free_ char *line = xasprintf(LINE("%d"), i);
		assert_int_equal(add(batch, line, &lost), TRACE_TAKEN);
	}
	assert_int_equal(add(batch, LINE(""), &lost), TRACE_FULL);
	trace_batch_drop(batch, 10);
	assert_int_equal(add(batch, LINE("4711"), &lost), TRACE_TAKEN); /* around the ring's end */
	_cleanup_free_ char *body = trace_batch_body(batch, &spans);
	json_t *object = json_loads(body, 0, NULL);
	const json_t *list = json_object_get(object, "resourceSpans");
	assert_int_equal(spans, TRACE_SEND_MAX);
	assert_int_equal(json_array_size(list), TRACE_SEND_MAX);
	assert_non_null(strstr(body, "[10]"));
	assert_null(strstr(body, "[9]"));
	json_decref(object);
	trace_batch_free(batch);
}

static void a_span_says_what_was_lost_before_it(void **state _unused_)
{
	struct trace_batch *batch = trace_batch_new();
	uint64_t lost = 0;

	assert_int_equal(
		add(batch, LINE("{\"key\":\"kiln.lost\",\"value\":{\"intValue\":\"7\"}}"), &lost),
		TRACE_TAKEN);
	assert_int_equal(lost, 7);
	assert_int_equal(
		add(batch, LINE("{\"key\":\"kiln.lost\",\"value\":{\"intValue\":\"-1\"}}"), &lost),
		TRACE_TAKEN);
	assert_int_equal(lost, 0);
	trace_batch_free(batch);
}

/* ---------------------------------------------------------------- to a collector */

struct bench {
	struct loop *loop;
	struct metrics metrics;
	struct trace_export *export;
	char dir[32];
	char *socket;
	int listen_fd; /* the collector's */
	uint16_t port;
	bool done;
};

static void listen_anywhere(struct bench *bench)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t len = sizeof(address);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	bench->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(bench->listen_fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(bench->listen_fd, 8), 0);
	assert_int_equal(getsockname(bench->listen_fd, (struct sockaddr *)&address, &len), 0);
	bench->port = ntohs(address.sin_port);
}

static int setup(void **state)
{
	struct bench *bench = xnew(struct bench);

	strcpy(bench->dir, "/tmp/kiln-export.XXXXXX");
	assert_non_null(mkdtemp(bench->dir));
	bench->socket = path_join(bench->dir, "collector.sock");
	bench->loop = loop_new();
	listen_anywhere(bench);
	struct collector collector = { xstrdup("127.0.0.1"), xstrdup("/v1/traces"), bench->port };
	assert_int_equal(trace_export_new(bench->loop, bench->socket, &collector, &bench->metrics,
					  &bench->export, NULL),
			 0);
	_cleanup_free_ char *target = xasprintf(TRACE_SOCKET "%s", bench->socket);
	trace_init("test", target, "s1");
	assert_true(trace_on);
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	trace_init("test", "", NULL);
	trace_export_free(bench->export);
	loop_free(bench->loop);
	metrics_done(&bench->metrics);
	close_fd(bench->listen_fd);
	assert_int_equal(path_remove(bench->dir, NULL), 0);
	free(bench->socket);
	free(bench);
	return 0;
}

static void trace_one(void)
{
	const struct trace_span span = trace_begin();

	trace_end(TRACE_CLAIM, NULL, &span);
}

/* What the collector is sent, in one request, and answers. */
struct collected {
	struct bench *bench;
	int fd;
	const char *answer;
	struct strbuf text;
};

static bool is_whole(const struct strbuf *text)
{
	const char *body = text->text ? strstr(text->text, "\r\n\r\n") : NULL;
	const char *length = text->text ? strstr(text->text, "Content-Length: ") : NULL;

	return body && length &&
	       text->len - (size_t)(body + 4 - text->text) >=
		       strtoul(length + strlen("Content-Length: "), NULL, 10);
}

static void on_request(int fd, unsigned events _unused_, void *userdata)
{
	struct collected *collected = userdata;
	char buffer[4096];
	ssize_t n = read(fd, buffer, sizeof(buffer));

	assert_true(n > 0);
	strbuf_add(&collected->text, buffer, (size_t)n);
	if (!is_whole(&collected->text))
		return;
	assert_true(write(fd, collected->answer, strlen(collected->answer)) > 0);
	collected->bench->done = true;
}

/* The loop turns until it has been read. */
static void collect(struct bench *bench, const char *answer, struct strbuf *ret_text)
{
	struct collected collected = { .bench = bench, .answer = answer };
	bool is_called = false;

	(void)loop_run_until(bench->loop, &is_called, 1500); /* gathers, then connects */
	collected.fd = accept4(bench->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(collected.fd >= 0);
	struct loop_watch *watch = loop_watch_new(bench->loop, collected.fd, LOOP_READ, on_request,
						  &collected);
	bench->done = false;
	assert_true(loop_run_until(bench->loop, &bench->done, 20000));
	loop_watch_free(watch);
	bench->done = false;
	(void)loop_run_until(bench->loop, &bench->done, 100);
	close_fd(collected.fd);
	*ret_text = collected.text;
}

static uint64_t sum(const struct bench *bench, enum counter counter)
{
	return metrics_sum(&bench->metrics, counter);
}

static void spans_are_posted_together(void **state)
{
	struct bench *bench = *state;
	_cleanup_(strbuf_done) struct strbuf text = {};

	trace_one();
	trace_one();
	collect(bench, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", &text);
	assert_non_null(strstr(text.text, "POST /v1/traces HTTP/1.1\r\n"));
	assert_non_null(strstr(text.text, "Content-Type: application/json\r\n"));
	json_t *body = json_loads(strstr(text.text, "\r\n\r\n") + 4, 0, NULL);
	assert_int_equal(json_array_size(json_object_get(body, "resourceSpans")), 2);
	json_decref(body);
	assert_int_equal(sum(bench, COUNTER_TRACE_SENT), 2);
	assert_int_equal(sum(bench, COUNTER_TRACE_LOST), 0);
}

static void what_is_refused_is_not_sent_again(void **state)
{
	struct bench *bench = *state;
	_cleanup_(strbuf_done) struct strbuf text = {};

	trace_one();
	collect(bench, "HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n", &text);
	assert_int_equal(sum(bench, COUNTER_TRACE_SENT), 0);
	assert_int_equal(sum(bench, COUNTER_TRACE_LOST), 1);
}

static void a_busy_collector_is_asked_again(void **state)
{
	struct bench *bench = *state;
	_cleanup_(strbuf_done) struct strbuf text = {};

	trace_one();
	collect(bench, "HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
		&text);
	assert_int_equal(sum(bench, COUNTER_TRACE_LOST), 0);
	assert_int_equal(sum(bench, COUNTER_TRACE_SENT), 0);
}

/* One that hangs: spans are taken up to the bound, and who writes them never waits. */
static void a_collector_that_hangs_costs_a_bounded_queue(void **state)
{
	struct bench *bench = *state;
	bool never = false;

	for (int i = 0; i < TRACE_BATCH_MAX + 100; i++) {
		trace_one();
		if (i % 16 == 0)
			(void)loop_run_until(bench->loop, &never, 1);
	}
	(void)loop_run_until(bench->loop, &never, 200);
	assert_int_equal(sum(bench, COUNTER_TRACE_SENT), 0);
	assert_int_equal(sum(bench, COUNTER_TRACE_LOST), 100);
}

/* Nobody reads: the socket fills, and the first span that is taken says what is missing. */
static void a_factory_that_hangs_costs_spans(void **state)
{
	struct bench *bench = *state;
	bool never = false;

	for (int i = 0; i < TRACE_BATCH_MAX; i++)
		trace_one();
	(void)loop_run_until(bench->loop, &never, 200);
	assert_int_equal(sum(bench, COUNTER_TRACE_LOST), 0);
	trace_one();
	(void)loop_run_until(bench->loop, &never, 200);
	assert_in_range(sum(bench, COUNTER_TRACE_LOST), 1, TRACE_BATCH_MAX - 1);
}

static void foreign_packets_are_counted(void **state)
{
	struct bench *bench = *state;
	bool never = false;
	int fd = -EBADF;

	assert_int_equal(socket_connect_packets(bench->socket, &fd, NULL), 0);
	assert_int_equal(send(fd, "hello", 5, MSG_NOSIGNAL), 5);
	(void)loop_run_until(bench->loop, &never, 100);
	assert_int_equal(sum(bench, COUNTER_TRACE_LOST), 1);
	close_fd(fd);
}

int main(void)
{
#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(collectors_have_an_address_in_numbers),
		cmocka_unit_test(only_a_span_is_taken),
		cmocka_unit_test(what_waits_is_bounded_and_sent_in_order),
		cmocka_unit_test(a_span_says_what_was_lost_before_it),
		WITH_BENCH(spans_are_posted_together),
		WITH_BENCH(what_is_refused_is_not_sent_again),
		WITH_BENCH(a_busy_collector_is_asked_again),
		WITH_BENCH(a_collector_that_hangs_costs_a_bounded_queue),
		WITH_BENCH(a_factory_that_hangs_costs_spans),
		WITH_BENCH(foreign_packets_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
