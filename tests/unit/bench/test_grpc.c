/* Calls of CRI: bodies of answers, and servers that give none. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
/* After what it needs. */
#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/socket.h"
#include "bench/grpc.h"
#include "proto/cri.pb-c.h"

/* ---------------------------------------------------------------- bodies */

static void a_whole_message_is_taken(void **state _unused_)
{
	static const char body[] = "\0\0\0\0\5\x0a\3abc";
	ProtobufCMessage *message = NULL;

	assert_int_equal(grpc_body_parse(body, sizeof(body) - 1,
					 &runtime__v1__run_pod_sandbox_response__descriptor,
					 &message, NULL),
			 0);
	assert_string_equal(((Runtime__V1__RunPodSandboxResponse *)message)->pod_sandbox_id, "abc");
	protobuf_c_message_free_unpacked(message, NULL);
}

static void what_is_no_message_is_said(void **state _unused_)
{
	static const struct {
		const char *body;
		size_t len;
		const char *sentence;
	} cases[] = {
		{ "", 0, "an answer of 0 bytes" },
		{ "\0\0\0\0", 4, "an answer of 4 bytes" },
		{ "\0\0\0\0\1", 5, "0 bytes came of an answer of 1" },
		{ "\0\0\0\0\0x", 6, "1 bytes came of an answer of 0" },
		{ "\0\xff\xff\xff\xffx", 6, "1 bytes came of an answer of 4294967295" },
		{ "\1\0\0\0\0", 5, "compressed" },
		{ "\0\0\0\0\2\x0a\5", 7, "the answer is no runtime.v1.RunPodSandboxResponse" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(error_done) struct error err = {};
		ProtobufCMessage *message = NULL;

		assert_int_equal(grpc_body_parse(cases[i].body, cases[i].len,
						 &runtime__v1__run_pod_sandbox_response__descriptor,
						 &message, &err),
				 -EBADMSG);
		assert_non_null(strstr(error_message(&err), cases[i].sentence));
		assert_null(message);
	}
}

/* ---------------------------------------------------------------- servers */

struct server {
	struct loop *loop;
	struct grpc_client *client;
	int fd; /* of the connection, the server's end */
};

/* A socket whose connection nobody answers yet. */
static void connect_to_nobody(struct server *server)
{
	_cleanup_free_ char *path = xasprintf("/tmp/kiln-test-grpc.%d", (int)getpid());
	_cleanup_close_ int listener = -EBADF;

	server->loop = loop_new();
	assert_int_equal(socket_listen_unix(path, 0600, &listener, NULL), 0);
	assert_int_equal(grpc_client_new(server->loop, path, &server->client, NULL), 0);
	server->fd = accept(listener, NULL, NULL);
	assert_true(server->fd >= 0);
	unlink(path);
}

static int call(struct server *server, unsigned timeout_ms, struct error *err)
{
	Runtime__V1__StopPodSandboxRequest request = RUNTIME__V1__STOP_POD_SANDBOX_REQUEST__INIT;
	ProtobufCMessage *response = NULL;

	return grpc_call(server->client, &runtime__v1__runtime_service__descriptor,
			 "StopPodSandbox", &request.base, timeout_ms, &response, err);
}

static void server_done(struct server *server)
{
	grpc_client_free(server->client);
	loop_free(server->loop);
	close_fd(server->fd);
}

static void a_server_that_goes_away_ends_the_call(void **state _unused_)
{
	_cleanup_(server_done) struct server server = {};
	_cleanup_(error_done) struct error err = {};

	connect_to_nobody(&server);
	server.fd = close_fd(server.fd);
	assert_int_equal(call(&server, 60000, &err), -ECONNRESET);
	assert_string_equal(error_message(&err), "StopPodSandbox: the connection has ended");
	assert_int_equal(call(&server, 60000, NULL), -ECONNRESET);
}

static void a_server_that_speaks_no_http2_ends_the_call(void **state _unused_)
{
	static const char text[] =
		"HTTP/1.1 400 Bad Request\r\n\r\nThis is something else altogether.";
	_cleanup_(server_done) struct server server = {};

	connect_to_nobody(&server);
	assert_int_equal(write_full(server.fd, text, sizeof(text)), 0);
	assert_int_equal(call(&server, 60000, NULL), -ECONNRESET);
}

static void a_silent_server_is_waited_for_so_long(void **state _unused_)
{
	_cleanup_(server_done) struct server server = {};
	_cleanup_(error_done) struct error err = {};

	connect_to_nobody(&server);
	assert_int_equal(call(&server, 20, &err), -ETIMEDOUT);
}

static void there_may_be_no_server(void **state _unused_)
{
	_cleanup_(loop_free_cleanup) struct loop *loop = loop_new();
	struct grpc_client *client = NULL;

	assert_int_equal(grpc_client_new(loop, "/tmp/kiln-test-grpc.none", &client, NULL), -ENOENT);
	assert_null(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_message_is_taken),
		cmocka_unit_test(what_is_no_message_is_said),
		cmocka_unit_test(a_server_that_goes_away_ends_the_call),
		cmocka_unit_test(a_server_that_speaks_no_http2_ends_the_call),
		cmocka_unit_test(a_silent_server_is_waited_for_so_long),
		cmocka_unit_test(there_may_be_no_server),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
