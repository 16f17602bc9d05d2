/* sd_notify and socket activation, against sockets of the test's own. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* After what it needs. */
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/memory.h"
#include "base/socket.h"
#include "base/strings.h"
#include "factory/daemon/activation.h"
#include "factory/daemon/notify.h"

enum { ANSWER_MS = 5000, MESSAGE_MAX = 512 };

static char dir[] = "/tmp/kiln-notify.XXXXXX";
static struct loop *loop;

static int setup(void **state _unused_)
{
	memcpy(dir + sizeof(dir) - 7, "XXXXXX", 6);
	loop = loop_new();
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state _unused_)
{
	_cleanup_free_ char *path = xasprintf("%s/notify", dir);

	loop_free(loop);
	unlink(path);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	return rmdir(dir);
}

/* The service manager's end; address is a path or @NAME. */
static int manager_listen(const char *address)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	size_t len = strlen(address);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(addr.sun_path, address, len);
	if (address[0] == '@')
		addr.sun_path[0] = '\0';
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
			 0);
	setenv("NOTIFY_SOCKET", address, 1);
	return fd;
}

static void expect_message(int fd, const char *wanted)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	char text[MESSAGE_MAX] = "";

	assert_int_equal(poll(&poll_fd, 1, ANSWER_MS), 1);
	assert_true(recv(fd, text, sizeof(text) - 1, 0) > 0);
	assert_string_equal(text, wanted);
}

static void expect_silence(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
}

static void say_all(int fd)
{
	struct notify *notify = notify_new(loop);
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	char text[MESSAGE_MAX] = "";
	unsigned long usec = 0;

	assert_null(getenv("NOTIFY_SOCKET"));
	notify_ready(notify);
	expect_message(fd, "READY=1");
	notify_status(notify, "serving %d\nREADY=0", 7);
	expect_message(fd, "STATUS=serving 7 READY=0");
	notify_reloading(notify);
	assert_int_equal(poll(&poll_fd, 1, ANSWER_MS), 1);
	assert_true(recv(fd, text, sizeof(text) - 1, 0) > 0);
	assert_int_equal(sscanf(text, "RELOADING=1\nMONOTONIC_USEC=%lu", &usec), 1);
	assert_true(usec > 0);
	notify_stopping(notify);
	expect_message(fd, "STOPPING=1");
	expect_silence(fd);
	notify_free(notify);
}

static void test_path(void **state _unused_)
{
	_cleanup_free_ char *path = xasprintf("%s/notify", dir);
	_cleanup_close_ int fd = manager_listen(path);

	say_all(fd);
}

static void test_abstract(void **state _unused_)
{
	_cleanup_free_ char *name = xasprintf("@kiln-test-%d", (int)getpid());
	_cleanup_close_ int fd = manager_listen(name);

	say_all(fd);
}

static void test_nobody_listens(void **state _unused_)
{
	static const char *const addresses[] = { NULL, "",         "relative", "/nowhere/at/all",
						 "@",  "vsock:2:1" };

	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
		if (addresses[i])
			setenv("NOTIFY_SOCKET", addresses[i], 1);
		struct notify *notify = notify_new(loop);
		notify_ready(notify);
		notify_status(notify, "unheard");
		notify_free(notify);
	}
}

static void test_full_queue_does_not_block_for_long(void **state _unused_)
{
	_cleanup_free_ char *path = xasprintf("%s/notify", dir);
	_cleanup_close_ int fd = manager_listen(path);
	struct notify *notify = notify_new(loop);

	for (unsigned i = 0; i < 10000; i++)
		notify_status(notify, "line %u", i);
	expect_message(fd, "STATUS=line 0");
	notify_free(notify);
}

static void test_watchdog(void **state _unused_)
{
	_cleanup_free_ char *path = xasprintf("%s/notify", dir);
	_cleanup_free_ char *other = xasprintf("%d", (int)getppid());
	_cleanup_close_ int fd = manager_listen(path);
	bool never = false;

	setenv("WATCHDOG_USEC", "40000", 1);
	struct notify *notify = notify_new(loop);
	(void)loop_run_until(loop, &never, 70);
	notify_free(notify);
	expect_message(fd, "WATCHDOG=1");
	expect_message(fd, "WATCHDOG=1");
	assert_null(getenv("WATCHDOG_USEC"));
	while (recv(fd, &never, 1, MSG_DONTWAIT) > 0)
		;

	/* Somebody else is watched. */
	setenv("NOTIFY_SOCKET", path, 1);
	setenv("WATCHDOG_USEC", "2000", 1);
	setenv("WATCHDOG_PID", other, 1);
	notify = notify_new(loop);
	never = false;
	(void)loop_run_until(loop, &never, 20);
	notify_free(notify);
	expect_silence(fd);
}

/* ---------------------------------------------------------------- activation */

/* In a child, which has descriptors 3 and up as the service manager left them: the number that
 * activation_take() chose, 100 for none, 101 for a refusal. */
static int activate(int first, int second, const char *count, const char *names, bool for_us)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		_cleanup_free_ char *pid = xasprintf("%d", (int)(for_us ? getpid() : getppid()));
		_cleanup_(error_done) struct error err = {};
		int a = fcntl(first, F_DUPFD, 50), b = fcntl(second, F_DUPFD, 50), fd = -1;

		(void)dup2(a, 3);
		(void)dup2(b, 4);
		setenv("LISTEN_PID", pid, 1);
		setenv("LISTEN_FDS", count, 1);
		if (names)
			setenv("LISTEN_FDNAMES", names, 1);
		int r = activation_take("factory", SOCK_STREAM, &fd, &err);
		bool clean = !getenv("LISTEN_PID") && !getenv("LISTEN_FDS") &&
			     !getenv("LISTEN_FDNAMES");
		if (fd >= 0 && !(fcntl(fd, F_GETFD) & FD_CLOEXEC))
			clean = false;
		_exit(!clean ? 102 : r < 0 ? 101 : fd < 0 ? 100 : fd);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_activation(void **state _unused_)
{
	_cleanup_free_ char *path = xasprintf("%s/notify", dir);
	_cleanup_close_ int datagrams = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int fd = -EBADF;

	assert_int_equal(socket_listen_unix(path, 0600, &fd, NULL), 0);
	assert_int_equal(activate(fd, fd, "1", NULL, true), 3);
	assert_int_equal(activate(fd, fd, "1", "factory", true), 3);
	assert_int_equal(activate(fd, fd, "1", "unknown", true), 3);
	assert_int_equal(activate(datagrams, fd, "2", "metrics:factory", true), 4);
	assert_int_equal(activate(fd, fd, "1", NULL, false), 100);
	assert_int_equal(activate(datagrams, fd, "1", NULL, true), 101);
	assert_int_equal(activate(fd, fd, "0", NULL, true), 101);
	assert_int_equal(activate(fd, fd, "many", NULL, true), 101);
	assert_int_equal(activate(fd, fd, "60", "a:b:c", true), 3);
	close_fd(fd);
}

static void test_no_activation(void **state _unused_)
{
	int fd = 7;

	assert_int_equal(activation_take("factory", SOCK_STREAM, &fd, NULL), 0);
	assert_int_equal(fd, -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_path, setup, teardown),
		cmocka_unit_test_setup_teardown(test_abstract, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nobody_listens, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_queue_does_not_block_for_long, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_watchdog, setup, teardown),
		cmocka_unit_test_setup_teardown(test_activation, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_activation, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
