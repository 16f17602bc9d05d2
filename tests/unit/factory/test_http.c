/* The HTTP server against plain sockets. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
/* After what it needs. */
#include <cmocka.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "factory/api/http.h"

#define CONNECTIONS 32 /* http.c's bound */
#define DEADLINE_MS 200

struct fixture {
	struct loop *loop;
	struct http *http;
	struct http_request *kept; /* of /later */
	char dir[32];
	char path[64];
};

static void on_now(struct http_request *request, void *userdata _unused_)
{
	http_reply(request, 200, HTTP_TEXT, "here\n");
}

static void on_later(struct http_request *request, void *userdata)
{
	struct fixture *f = userdata;

	f->kept = request;
}

static const struct http_page pages[] = { { "/now", on_now }, { "/later", on_later } };

static int setup(void **state, unsigned deadline_ms)
{
	struct fixture *f = xnew(struct fixture);
	int fd;

	strcpy(f->dir, "/tmp/kiln-test-http.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/http.sock", f->dir);
	assert_int_equal(socket_listen_unix(f->path, 0600, &fd, NULL), 0);
	f->loop = loop_new();
	f->http = http_new(f->loop, fd, pages, ARRAY_SIZE(pages), deadline_ms, f);
	*state = f;
	return 0;
}

/* For what a deadline shall not disturb, however slow this host is. */
static int setup_patient(void **state)
{
	return setup(state, 100 * DEADLINE_MS);
}

static int setup_hasty(void **state)
{
	return setup(state, DEADLINE_MS);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	http_free(f->http);
	loop_free(f->loop);
	assert_int_equal(path_remove(f->dir, NULL), 0);
	free(f);
	return 0;
}

static void settle(struct fixture *f)
{
	const bool never = false;

	(void)loop_run_until(f->loop, &never, 20);
}

static int connect_to(struct fixture *f)
{
	int fd = -EBADF;

	assert_int_equal(socket_connect(f->path, &fd, NULL), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* What came until nothing more does; ended tells whether the stream did. */
static char *hear(struct fixture *f, int fd, bool *ret_ended)
{
	struct strbuf b = {};
	char part[4096];
	ssize_t n;

	settle(f);
	while ((n = recv(fd, part, sizeof(part), MSG_DONTWAIT)) > 0) {
		strbuf_add(&b, part, (size_t)n);
		settle(f);
	}
	if (ret_ended)
		*ret_ended = n == 0 || errno == ECONNRESET;
	return b.text ? strbuf_steal(&b) : xstrdup("");
}

#define assert_begins(text, start)                                                                 \
	do {                                                                                       \
		if (!str_after((text), (start)))                                                   \
			fail_msg("expected %s, got: %s", (start), (text));                         \
	} while (0)

static void expect_answer(struct fixture *f, const char *request, const char *start)
{
	_cleanup_close_ int fd = connect_to(f);

	say(fd, request);
	_cleanup_free_ char *answer = hear(f, fd, NULL);
	assert_begins(answer, start);
}

static void serves_its_pages_only(void **state)
{
	struct fixture *f = *state;

	expect_answer(f, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n");
	expect_answer(f, "GET /now?a=b HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n");
	expect_answer(f, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 ");
	expect_answer(f, "GET /now/ HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 ");
	expect_answer(f, "GET /../now HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 ");
	expect_answer(f, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 4");
	expect_answer(f, "POST /now HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
		      "HTTP/1.1 405 ");
	expect_answer(f, "DELETE /now HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 405 ");
}

static void a_head_is_an_answer_without_its_body(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int fd = connect_to(f);

	say(fd, "HEAD /now HTTP/1.1\r\nHost: x\r\n\r\n");
	_cleanup_free_ char *head = hear(f, fd, NULL);
	assert_begins(head, "HTTP/1.1 200 OK\r\n");
	assert_non_null(strstr(head, "Content-Length: 5\r\n"));
	assert_null(strstr(head, "here"));
	/* And the stream is where the next answer begins. */
	say(fd, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n");
	_cleanup_free_ char *answer = hear(f, fd, NULL);
	assert_begins(answer, "HTTP/1.1 200 OK\r\n");
}

static void browsers_are_told_to_trust_nothing_else(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int fd = connect_to(f);

	say(fd, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n");
	_cleanup_free_ char *answer = hear(f, fd, NULL);
	assert_non_null(strstr(answer, "\r\nContent-Security-Policy: default-src 'none'; "));
	assert_non_null(strstr(answer, "\r\nX-Content-Type-Options: nosniff\r\n"));
}

static void another_name_than_this_hosts_is_refused(void **state)
{
	struct fixture *f = *state;

	http_loopback_names_only(f->http);
	expect_answer(f, "GET /now HTTP/1.1\r\nHost: 127.0.0.1:9483\r\n\r\n", "HTTP/1.1 200 ");
	expect_answer(f, "GET /now HTTP/1.1\r\nHost: LocalHost\r\n\r\n", "HTTP/1.1 200 ");
	expect_answer(f, "GET /now HTTP/1.1\r\nHost: evil.example\r\n\r\n", "HTTP/1.1 421 ");
	expect_answer(f, "GET /now HTTP/1.1\r\nHost: localhost.evil.example\r\n\r\n",
		      "HTTP/1.1 421 ");
	expect_answer(f, "GET /now HTTP/1.1\r\nHost: 127.0.0.1.evil.example:80\r\n\r\n",
		      "HTTP/1.1 421 ");
	expect_answer(f, "GET http://evil.example/now HTTP/1.1\r\nHost: localhost\r\n\r\n",
		      "HTTP/1.1 421 ");
	expect_answer(f, "GET /none HTTP/1.1\r\nHost: evil.example\r\n\r\n", "HTTP/1.1 421 ");
	expect_answer(f, "GET /now HTTP/1.0\r\n\r\n", "HTTP/1.0 421 ");
}

static void a_connection_serves_several_requests(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int fd = connect_to(f);

	for (unsigned i = 0; i < 3; i++) {
		say(fd, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n");
		_cleanup_free_ char *answer = hear(f, fd, NULL);
		assert_begins(answer, "HTTP/1.1 200 OK\r\n");
		assert_non_null(strstr(answer, "\r\n\r\nhere\n"));
	}
}

static void sizes_are_bounded(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int headers = connect_to(f), body = connect_to(f);
	_cleanup_free_ char *many = xnew_array(char, 20001);
	bool ended = false;

	memset(many, 'x', 20000);
	say(headers, "GET /now HTTP/1.1\r\nHost: ");
	say(headers, many);
	_cleanup_free_ char *refused = hear(f, headers, &ended);
	assert_null(strstr(refused, "200 OK"));
	assert_true(ended);
	say(body, "POST /now HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
	say(body, many);
	_cleanup_free_ char *too_large = hear(f, body, NULL);
	assert_begins(too_large, "HTTP/1.1 413 ");
}

static void garbage_ends_its_connection_only(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int fd = connect_to(f);

	say(fd, "\x16\x03\x01 what\r\n\r\n");
	_cleanup_free_ char *answer = hear(f, fd, NULL);
	assert_null(strstr(answer, "200 OK"));
	expect_answer(f, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n");
}

static void an_answer_may_come_later(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int fd = connect_to(f);

	say(fd, "GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
	_cleanup_free_ char *nothing = hear(f, fd, NULL);
	assert_string_equal(nothing, "");
	assert_non_null(f->kept);
	http_reply(f->kept, 503, HTTP_TEXT, "not yet\n");
	_cleanup_free_ char *answer = hear(f, fd, NULL);
	assert_begins(answer, "HTTP/1.1 503 ");
}

static void an_answer_may_come_too_late(void **state)
{
	struct fixture *f = *state;
	int fd = connect_to(f);

	say(fd, "GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
	settle(f);
	assert_non_null(f->kept);
	close(fd);
	settle(f);
	http_reply(f->kept, 200, HTTP_TEXT, "to nobody\n");
	settle(f);
}

static void who_says_nothing_keeps_nobody_out(void **state)
{
	struct fixture *f = *state;
	int slow[CONNECTIONS + 8];
	bool ended = false;

	for (unsigned i = 0; i < ARRAY_SIZE(slow); i++) {
		slow[i] = connect_to(f);
		say(slow[i], "G");
	}
	settle(f);
	for (unsigned i = 0; i < 3; i++)
		expect_answer(f, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n");
	free(hear(f, slow[0], &ended));
	assert_true(ended);
	free(hear(f, slow[ARRAY_SIZE(slow) - 1], &ended)); /* the newest have still time */
	assert_false(ended);
	for (unsigned i = 0; i < ARRAY_SIZE(slow); i++)
		close(slow[i]);
}

static void who_waits_for_an_answer_is_not_pushed_out(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int waits = connect_to(f);
	int others[CONNECTIONS + 1];

	say(waits, "GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
	settle(f);
	for (unsigned i = 0; i < ARRAY_SIZE(others); i++) {
		others[i] = connect_to(f);
		settle(f);
	}
	(void)loop_run_until(f->loop, &(bool){ false }, 2 * DEADLINE_MS);
	http_reply(f->kept, 200, HTTP_TEXT, "at last\n");
	_cleanup_free_ char *answer = hear(f, waits, NULL);
	assert_begins(answer, "HTTP/1.1 200 OK\r\n");
	for (unsigned i = 0; i < ARRAY_SIZE(others); i++)
		close(others[i]);
}

static void a_request_has_one_deadline_however_slow_its_bytes(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int fd = connect_to(f);
	bool ended = false;

	for (unsigned i = 0; i < 20 && !ended; i++) {
		(void)!send(fd, "G", 1, MSG_NOSIGNAL);
		(void)loop_run_until(f->loop, &(bool){ false }, DEADLINE_MS / 8);
		free(hear(f, fd, &ended));
	}
	assert_true(ended);
}

static void the_end_closes_connections(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int fd = connect_to(f);
	bool ended = false;

	say(fd, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n");
	free(hear(f, fd, NULL));
	http_free(steal_ptr(f->http));
	free(hear(f, fd, &ended));
	assert_true(ended);
}

#define HTTP_TEST(name)     cmocka_unit_test_setup_teardown(name, setup_patient, teardown)
#define DEADLINE_TEST(name) cmocka_unit_test_setup_teardown(name, setup_hasty, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		HTTP_TEST(serves_its_pages_only),
		HTTP_TEST(a_head_is_an_answer_without_its_body),
		HTTP_TEST(browsers_are_told_to_trust_nothing_else),
		HTTP_TEST(another_name_than_this_hosts_is_refused),
		HTTP_TEST(a_connection_serves_several_requests),
		HTTP_TEST(sizes_are_bounded),
		HTTP_TEST(garbage_ends_its_connection_only),
		HTTP_TEST(an_answer_may_come_later),
		HTTP_TEST(an_answer_may_come_too_late),
		HTTP_TEST(who_says_nothing_keeps_nobody_out),
		DEADLINE_TEST(who_waits_for_an_answer_is_not_pushed_out),
		DEADLINE_TEST(a_request_has_one_deadline_however_slow_its_bytes),
		HTTP_TEST(the_end_closes_connections),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
