/* What kiln-jailer takes for a request, and what it does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/memory.h"
#include "factory/jail/jailer_message.h"

#define MACHINE  "00112233445566778899aabbccddeeff"
#define TEMPLATE MACHINE MACHINE

struct message {
	char *data; /* owned */
	size_t len;
};

static struct message print(const struct jailer_request *request)
{
	struct message message;

	assert_int_equal(jailer_request_print(request, &message.data, &message.len, NULL), 0);
	return message;
}

static struct jailer_request launch_request(void)
{
	struct jailer_request request = { .verb = JAILER_LAUNCH,
					  .uid = 0x70000000,
					  .flags = JAILER_BOOTED,
					  .vcpus = 2,
					  .memory_mib = 512 };

	strcpy(request.machine, MACHINE);
	strcpy(request.template_id, TEMPLATE);
	return request;
}

/* What is wrong with it, or 0. */
static int judge(const struct jailer_request *request, size_t nfds)
{
	struct jailer_request parsed = {};
	struct message message = print(request);
	int r = jailer_request_parse(message.data, message.len, nfds, &parsed, NULL);

	jailer_request_done(&parsed);
	free(message.data);
	return r;
}

static void a_request_arrives_as_it_was(void **state _unused_)
{
	struct jailer_request request = { .verb = JAILER_IMAGE_MAKE, .bytes = 1 << 20 }, parsed;

	strcpy(request.template_id, TEMPLATE);
	strv_add(&request.text, "name");
	strv_add(&request.text, "/layer one");
	strv_add(&request.text, "/layer two");
	struct message message = print(&request);
	assert_int_equal(jailer_request_parse(message.data, message.len, 1, &parsed, NULL), 0);
	assert_int_equal(parsed.verb, JAILER_IMAGE_MAKE);
	assert_int_equal(parsed.bytes, 1 << 20);
	assert_string_equal(parsed.template_id, TEMPLATE);
	assert_true(strv_equal(&parsed.text, &request.text));
	jailer_request_done(&parsed);
	jailer_request_done(&request);
	free(message.data);
}

static void each_verb_has_what_it_has_and_no_more(void **state _unused_)
{
	struct jailer_request request = launch_request();

	assert_int_equal(judge(&request, 3), 0);
	assert_int_equal(judge(&request, JAILER_FDS_MAX + 1), -EBADMSG);
	request.flags |= JAILER_UNDO;
	assert_int_equal(judge(&request, 0), -EBADMSG);
	request = launch_request();
	request.number = 1;
	assert_int_equal(judge(&request, 0), -EBADMSG);
	request = launch_request();
	strv_add(&request.text, "/usr/bin/anything");
	assert_int_equal(judge(&request, 0), -EBADMSG);
	jailer_request_done(&request);
	request = (struct jailer_request){ .verb = JAILER_GROW, .vcpus = 2 };
	strcpy(request.machine, MACHINE);
	assert_int_equal(judge(&request, 0), -EBADMSG);
	strv_add(&request.text, "kiln/" MACHINE);
	assert_int_equal(judge(&request, 0), 0);
	jailer_request_done(&request);
	request = (struct jailer_request){ .verb = JAILER_TAKE, .uid = 0x70000000 };
	assert_int_equal(judge(&request, 0), -EBADMSG);
	strcpy(request.machine, MACHINE);
	assert_int_equal(judge(&request, 0), 0);
	assert_int_equal(judge(&request, 1), -EBADMSG);
	request = (struct jailer_request){ .verb = JAILER_KILL };
	assert_int_equal(judge(&request, 1), 0);
	assert_int_equal(judge(&request, 0), -EBADMSG);
	assert_int_equal(judge(&request, 2), -EBADMSG);
	request.uid = 1;
	assert_int_equal(judge(&request, 1), -EBADMSG);
	request = (struct jailer_request){ .verb = JAILER_BAKE };
	assert_int_equal(judge(&request, 1), -EBADMSG);
	request = (struct jailer_request){ .verb = JAILER_VERBS };
	assert_int_equal(judge(&request, 0), -EBADMSG);
}

/* They become parts of paths. */
static void machines_and_templates_are_digits(void **state _unused_)
{
	static const char *const bad[] = { "",
					   "..",
					   "../../../../../../../etc/passwd01",
					   "0011223344556677/899aabbccddeef",
					   "00112233445566778899AABBCCDDEEFF",
					   "00112233445566778899aabbccddeef" };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct jailer_request request = launch_request();
		memset(request.machine, 0, sizeof(request.machine));
		memcpy(request.machine, bad[i], strnlen(bad[i], ID_HEX_SIZE - 1));
		assert_int_equal(judge(&request, 0), -EBADMSG);
		request = launch_request();
		memset(request.template_id, 0, sizeof(request.template_id));
		memcpy(request.template_id, bad[i], strlen(bad[i]));
		assert_int_equal(judge(&request, 0), -EBADMSG);
	}
	struct jailer_request request = launch_request();
	memset(request.machine, 'a', sizeof(request.machine)); /* no end */
	assert_int_equal(judge(&request, 0), -EBADMSG);
}

static void half_a_message_is_none(void **state _unused_)
{
	struct jailer_request request = { .verb = JAILER_IMAGE_REMOVE }, parsed;

	strv_add(&request.text, "name");
	struct message message = print(&request);
	for (size_t len = 0; len < message.len; len++)
		assert_int_equal(jailer_request_parse(message.data, len, 1, &parsed, NULL),
				 -EBADMSG);
	message.data[0] ^= 1; /* another version's */
	assert_int_equal(jailer_request_parse(message.data, message.len, 1, &parsed, NULL),
			 -EBADMSG);
	free(message.data);
	jailer_request_done(&request);
}

static void what_is_too_long_is_told(void **state _unused_)
{
	struct jailer_request request = { .verb = JAILER_IMAGE_LOOK };
	_cleanup_free_ char *path = xcalloc(1, 4096);
	char *data;
	size_t len;

	memset(path, 'x', 4095);
	for (int i = 0; i < 40; i++)
		strv_add(&request.text, path);
	assert_int_equal(jailer_request_print(&request, &data, &len, NULL), -E2BIG);
	jailer_request_done(&request);
}

static void an_answer_brings_its_descriptors(void **state _unused_)
{
	struct jailer_reply reply = {
		.status = 7, .pid = 42, .guest_cid = 77, .start_time = 1, .text = (char *)""
	};
	struct jailer_reply got = {};
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	reply.fds[reply.nfds++] = STDERR_FILENO;
	assert_int_equal(jailer_reply_send(pair[0], &reply), 0);
	assert_int_equal(jailer_reply_receive(pair[1], &got), 0);
	assert_int_equal(got.status, 7);
	assert_int_equal(got.pid, 42);
	assert_int_equal(got.nfds, 1);
	assert_true(fcntl(got.fds[0], F_GETFD) & FD_CLOEXEC);
	assert_int_equal(got.guest_cid, 77);
	jailer_reply_done(&got);
	close(pair[0]);
	assert_int_equal(jailer_reply_receive(pair[1], &got), -ENOTCONN);
	close(pair[1]);
}

/* A factory without descriptors to spare goes on. */
static void no_room_for_descriptors_is_told(void **state _unused_)
{
	struct jailer_reply reply = { .text = (char *)"", .nfds = 1 }, got = {};
	struct rlimit before, none;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	reply.fds[0] = STDERR_FILENO;
	assert_int_equal(jailer_reply_send(pair[0], &reply), 0);
	assert_int_equal(jailer_reply_send(pair[0], &reply), 0);
	none = before;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	int r = jailer_reply_receive(pair[1], &got);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(r, -EMFILE);
	assert_int_equal(jailer_reply_receive(pair[1], &got), 0);
	assert_int_equal(got.nfds, 1);
	jailer_reply_done(&got);
	close(pair[0]);
	close(pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_arrives_as_it_was),
		cmocka_unit_test(each_verb_has_what_it_has_and_no_more),
		cmocka_unit_test(machines_and_templates_are_digits),
		cmocka_unit_test(half_a_message_is_none),
		cmocka_unit_test(what_is_too_long_is_told),
		cmocka_unit_test(an_answer_brings_its_descriptors),
		cmocka_unit_test(no_room_for_descriptors_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
