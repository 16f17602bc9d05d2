/* The end of a factory that somebody still waits for: all of it but kiln-jailer, which is played
 * here and measures no machine before the test says so. What is told to a factory or a page that is
 * gone the sanitizer sees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* After what it needs. */
#include <cmocka.h>

#include <semaphore.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/pidfd.h"
#include "base/socket.h"
#include "factory/daemon/server.h"
#include "factory/vm/journal.h"
#include "proto/factory.pb-c.h"
#include "proto/ttrpc_client.h"
#include "tests/unit/folder.h"
#include "tests/unit/hidden_proc.h"

enum { DEADLINE_MS = 10000, IMAGE_BYTES = 2 << 20 };

static struct {
	struct loop *loop;
	struct server *server;
	struct ttrpc_client *client;
	sem_t measure; /* one machine may be measured */
	atomic_bool measuring;
	int bake; /* kiln-jailer's end of one that is under way */
} play;

/* ---------------------------------------------------------------- kiln-jailer */

struct jailer {
	int unused;
};
static struct jailer the_jailer;

struct jailer *jailer_new(int fd _unused_)
{
	return &the_jailer;
}

void jailer_free(struct jailer *jailer _unused_)
{
}

void jailer_watch(struct jailer *jailer _unused_, struct loop *loop _unused_)
{
}

int jailer_call(struct jailer *jailer _unused_, const struct jailer_request *request,
		const int *fds _unused_, size_t nfds _unused_,
		struct jailer_reply *ret_reply _unused_, struct error *err)
{
	if (request->verb == JAILER_SOCKET)
		return 0;
	if (request->verb == JAILER_MEASURE) {
		play.measuring = true;
		sem_wait(&play.measure);
	}
	return error_set(err, EIO, "played");
}

int jailer_begin_job(struct jailer *jailer _unused_, const struct jailer_request *request,
		     int *ret_fd, struct error *err _unused_)
{
	int fds[2];

	assert_int_equal(request->verb, JAILER_BAKE);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
			 0);
	*ret_fd = fds[0];
	play.bake = fds[1];
	return 0;
}

/* ---------------------------------------------------------------- the fixture */

static char *in_folder(const char *name)
{
	return path_join(test_folder, name);
}

static void put(const char *name, const void *data, size_t len, mode_t mode)
{
	_cleanup_free_ char *path = in_folder(name);

	assert_int_equal(file_write_volatile(path, data, len, mode, NULL), 0);
}

static void put_text(const char *name, const char *text, mode_t mode)
{
	put(name, text, strlen(text), mode);
}

static void put_folder(const char *name)
{
	_cleanup_free_ char *path = in_folder(name);

	assert_int_equal(dir_make(path, 0700, NULL), 0);
}

/* A claimed machine of an earlier factory, so that there is one to measure. */
static void put_machine(void)
{
	struct journal_entry entry = {
		.id = (char *)"vm",
		.template_id = (char *)"0",
		.template_name = (char *)"default",
		.sandbox_id = (char *)"pod",
		.state = VM_CLAIMED,
		.confirmed = true,
		.pid = getpid(),
	};

	assert_int_equal(process_start_time(getpid(), &entry.start_time), 0);
	assert_int_equal(journal_write(test_folder, &entry, NULL), 0);
}

static void put_files(void)
{
	_cleanup_free_ char *image = xcalloc(1, IMAGE_BYTES);
	_cleanup_free_ char *config = xasprintf(
		"{\"run_dir\": \"%s\", \"templates\": \"%s/template.json\", \"qemu\": \"%s/qemu\", "
		"\"accelerator\": \"tcg\", \"channel\": \"serial\", \"init_on_start\": false, "
		"\"image_cache\": \"%s/images\", \"allow_uids\": \"%u\"}",
		test_folder, test_folder, test_folder, test_folder, getuid());

	put_folder("vms");
	put_folder("store");
	put_folder("store/templates");
	put_text("qemu", "#!/bin/sh\necho 'QEMU emulator version 9.8.7 (made up)'\n", 0755);
	put_text("file", "something", 0644);
	put("image", image, IMAGE_BYTES, 0644);
	put_text("template.json",
		 "{\"name\": \"default\", \"kernel\": \"file\", \"initrd\": \"file\", "
		 "\"machine\": \"file\", \"image\": \"image\"}",
		 0644);
	put_text("factory.json", config, 0644);
	put_machine();
}

static void listen_on(const char *name, int *ret_fd)
{
	_cleanup_free_ char *path = in_folder(name);

	assert_int_equal(socket_listen_unix(path, 0600, ret_fd, NULL), 0);
}

static int connect_to(const char *name)
{
	_cleanup_free_ char *path = in_folder(name);
	int fd = -EBADF;

	assert_int_equal(socket_connect(path, &fd, NULL), 0);
	return fd;
}

static int setup_files(void **state)
{
	assert_int_equal(folder_setup(state), 0);
	memset(&play, 0, sizeof(play));
	play.bake = -EBADF;
	assert_int_equal(sem_init(&play.measure, 0, 0), 0);
	put_files();
	return 0;
}

static int start(struct error *err)
{
	_cleanup_free_ char *path = in_folder("factory.json");
	_cleanup_(factory_config_done) struct factory_config config = {};
	struct factory_means means = { .run_lock = -EBADF,
				       .store_lock = -EBADF,
				       .jailer = &the_jailer };

	assert_int_equal(factory_config_load(path, &config, NULL), 0);
	listen_on("factory.sock", &means.socket_fd);
	listen_on("http.sock", &means.http_fd);
	play.loop = loop_new();
	int r = server_new(play.loop, &config, &means, &play.server, err);
	close_fd(means.socket_fd);
	close_fd(means.http_fd);
	return r;
}

static int setup(void **state)
{
	_cleanup_(error_done) struct error err = {};

	setup_files(state);
	if (start(&err) < 0)
		fail_msg("%s", error_message(&err));
	struct ttrpc_client_options options = {};
	play.client = ttrpc_client_new(play.loop, connect_to("factory.sock"), &options);
	return 0;
}

static int teardown(void **state)
{
	server_free(play.server);
	ttrpc_client_free(play.client);
	loop_free(play.loop);
	close_fd(play.bake);
	sem_destroy(&play.measure);
	return folder_teardown(state);
}

static void turn(void)
{
	const bool never = false;

	(void)loop_run_until(play.loop, &never, 1);
}

struct answer {
	bool done;
	enum ttrpc_code code;
};

static void on_reply(const struct ttrpc_reply *reply, void *userdata)
{
	*(struct answer *)userdata = (struct answer){ .done = true, .code = reply->code };
}

static void ask(const char *method, const ProtobufCMessage *request, struct answer *answer)
{
	const struct ttrpc_call_options options = {
		.service = &kiln__factory__v1__factory__descriptor,
		.method = method,
		.request = request,
		.on_reply = on_reply,
		.userdata = answer,
	};

	(void)ttrpc_client_call(play.client, &options);
}

static void await(const struct answer *answer)
{
	assert_true(loop_run_until(play.loop, &answer->done, DEADLINE_MS));
}

/* The requests of this connection from before have been taken when this is answered. */
static void say_hello(void)
{
	Kiln__Factory__V1__HelloRequest request = KILN__FACTORY__V1__HELLO_REQUEST__INIT;
	struct answer answer = {};

	ask("Hello", &request.base, &answer);
	await(&answer);
	assert_int_equal(answer.code, TTRPC_OK);
}

/* ---------------------------------------------------------------- the tests */

static void test_end_with_an_idle_connection(void **state _unused_)
{
	say_hello();
	server_free(steal_ptr(play.server));
}

static void test_end_after_a_stop(void **state _unused_)
{
	say_hello();
	server_stop(play.server);
	loop_run(play.loop); /* nothing is left to end */
	server_free(steal_ptr(play.server));
}

/* It is told, and not just cut off. */
static void test_end_with_an_init_that_waits(void **state _unused_)
{
	Kiln__Factory__V1__InitRequest request = KILN__FACTORY__V1__INIT_REQUEST__INIT;
	struct answer answer = {};

	ask("Init", &request.base, &answer);
	say_hello();
	while (play.bake < 0)
		turn();
	play.bake = close_fd(play.bake); /* which the bake's end sees, and the loop does not */
	server_free(steal_ptr(play.server));
	await(&answer);
	assert_int_equal(answer.code, TTRPC_CANCELLED);
}

static int visit(const char *page)
{
	_cleanup_free_ char *text = xasprintf("GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", page);
	int fd = connect_to("http.sock");

	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	return fd;
}

/* All wait for the same measurement, which ends with the factory. */
static void test_end_during_a_measurement(void **state _unused_)
{
	Kiln__Factory__V1__StatusRequest request = KILN__FACTORY__V1__STATUS_REQUEST__INIT;
	_cleanup_close_ int metrics _unused_ = visit("/metrics");
	_cleanup_close_ int status _unused_ = visit("/status");
	struct answer answer = {};

	ask("Status", &request.base, &answer);
	while (!play.measuring)
		turn();
	for (int i = 0; i < 3; i++)
		say_hello(); /* meanwhile the pages have been asked for */
	assert_false(answer.done);
	sem_post(&play.measure);
	server_free(steal_ptr(play.server));
	await(&answer);
	assert_int_equal(answer.code, TTRPC_OK);
}

/* A factory is a user, from whom a host may hide shims and machines, which are others'. */
static bool is_refused(void *userdata _unused_)
{
	_cleanup_(error_done) struct error err = {};

	return start(&err) == -EACCES && strstr(error_message(&err), "hidepid=");
}

static void test_no_start_where_processes_are_hidden(void **state _unused_)
{
	assert_int_equal(chmod(test_folder, 0777), 0);
	run_with_proc_hidden(is_refused, NULL);
}

/* They are there, and cannot be looked at. */
static void test_no_start_where_processes_are_closed(void **state _unused_)
{
	assert_int_equal(chmod(test_folder, 0777), 0);
	run_with_proc("hidepid=noaccess", is_refused, NULL);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_end_with_an_idle_connection),
		TEST(test_end_after_a_stop),
		TEST(test_end_with_an_init_that_waits),
		TEST(test_end_during_a_measurement),
		cmocka_unit_test_setup_teardown(test_no_start_where_processes_are_hidden,
						setup_files, folder_teardown),
		cmocka_unit_test_setup_teardown(test_no_start_where_processes_are_closed,
						setup_files, folder_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
