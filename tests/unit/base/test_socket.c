#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/socket.h"

struct fixture {
	char dir[64];
	char path[96];
};

static int setup(void **state)
{
	struct fixture *f = xnew(struct fixture);

	*state = f;
	snprintf(f->dir, sizeof(f->dir), "/tmp/kiln-test-socket.XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->path, sizeof(f->path), "%s/s", f->dir);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	int r = path_remove(f->dir, NULL);

	free(f);
	return r;
}

static void test_listen_and_connect(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int server = -EBADF, client = -EBADF, other = -EBADF;
	_cleanup_free_ char *url = xasprintf("unix://%s", f->path);
	struct peer peer = {};
	struct stat st;
	mode_t old = umask(0077);

	assert_int_equal(socket_listen_unix(f->path, 0660, &server, NULL), 0);
	umask(old);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	assert_int_equal(socket_connect(f->path, &client, NULL), 0);
	assert_int_equal(socket_connect(url, &other, NULL), 0);
	assert_true(fcntl(client, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(client, F_GETFL) & O_NONBLOCK);
	assert_int_equal(socket_peer(client, &peer), 0);
	assert_int_equal(peer.pid, getpid());
	assert_int_equal(peer.uid, getuid());
	assert_int_equal(peer.gid, getgid());
}

static void test_in_use_is_refused(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int server = -EBADF;
	_cleanup_(error_done) struct error err = {};
	int second = -EBADF;

	assert_int_equal(socket_listen_unix(f->path, 0600, &server, NULL), 0);
	assert_int_equal(socket_listen_unix(f->path, 0600, &second, &err), -EADDRINUSE);
	assert_non_null(strstr(error_message(&err), f->path));
	assert_int_equal(second, -EBADF);
	assert_true(path_exists(f->path));
}

static void test_stale_is_taken_over(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int first = -EBADF, second = -EBADF, client = -EBADF;

	assert_int_equal(socket_listen_unix(f->path, 0600, &first, NULL), 0);
	first = close_fd(first);
	assert_true(path_exists(f->path));
	assert_int_equal(socket_connect(f->path, &client, NULL), -ECONNREFUSED);
	assert_int_equal(socket_listen_unix(f->path, 0600, &second, NULL), 0);
	assert_int_equal(socket_connect(f->path, &client, NULL), 0);
}

static void test_only_a_dead_one_is_removed(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int server = -EBADF, folder = -EBADF;

	assert_int_equal(socket_remove_dead(f->path, NULL), 0); /* there is none */
	assert_int_equal(socket_listen_unix(f->path, 0600, &server, NULL), 0);
	assert_int_equal(socket_remove_dead(f->path, NULL), -EADDRINUSE);
	close_fd(steal_fd(&server));
	folder = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(flock(folder, LOCK_EX), 0); /* as somebody who is about to listen */
	assert_int_equal(socket_remove_dead(f->path, NULL), -EWOULDBLOCK);
	assert_true(path_exists(f->path));
	close_fd(steal_fd(&folder));
	assert_int_equal(socket_remove_dead(f->path, NULL), 0);
	assert_false(path_exists(f->path));
}

static void test_other_files_are_left_alone(void **state)
{
	struct fixture *f = *state;
	int fd = -EBADF;
	_cleanup_(error_done) struct error err = {};

	assert_int_equal(file_write_atomic(f->path, "x", 1, 0600, NULL), 0);
	assert_int_equal(socket_listen_unix(f->path, 0600, &fd, &err), -EADDRINUSE);
	assert_non_null(strstr(error_message(&err), "no socket"));
	assert_true(path_exists(f->path));
}

static void test_bad_addresses(void **state)
{
	struct fixture *f = *state;
	static const char *const bad[] = {
		"",
		"unix://",
		"vsock://3",
		"vsock://x:1",
		"vsock://3:",
		"vsock://3:1x",
		"tcp://localhost",
		"vsock://:1",
		"vsock://4294967296:1",
	};
	char long_path[256];
	_cleanup_(error_done) struct error err = {};
	int fd = -EBADF;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(socket_connect(bad[i], &fd, &err), -EINVAL);
	snprintf(long_path, sizeof(long_path), "%s/%0150d", f->dir, 0);
	assert_int_equal(socket_connect(long_path, &fd, &err), -ENAMETOOLONG);
	assert_int_equal(socket_listen_unix(long_path, 0600, &fd, &err), -ENAMETOOLONG);
	assert_int_equal(socket_connect(f->path, &fd, &err), -ENOENT);
	assert_non_null(strstr(error_message(&err), f->path));
	assert_int_equal(socket_listen_unix("/nonexistent/dir/s", 0600, &fd, &err), -ENOENT);
	assert_int_equal(fd, -EBADF);
}

static void test_abstract(void **state _unused_)
{
	static const char name[] = "\0kiln-test-abstract";
	struct sockaddr addr = { .sa_family = AF_UNIX };
	char space[sizeof(addr.sa_family) + sizeof(name) - 1];
	_cleanup_close_ int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	_cleanup_close_ int client = -EBADF;

	memcpy(space, &addr, sizeof(addr.sa_family));
	memcpy(space + sizeof(addr.sa_family), name, sizeof(name) - 1);
	assert_int_equal(bind(server, (struct sockaddr *)space, sizeof(space)), 0);
	assert_int_equal(listen(server, 1), 0);
	assert_int_equal(socket_connect("unix://@kiln-test-abstract", &client, NULL), 0);
}

static void test_descriptors_travel(void **state _unused_)
{
	int fds[2], pipe_fds[2], got[SOCKET_MAX_FDS];
	size_t ngot = 99;
	char data[8];

	assert_int_equal(socket_pair(fds), 0);
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	assert_int_equal(socket_receive(fds[1], data, sizeof(data), got, &ngot), -EAGAIN);
	assert_int_equal(ngot, 0);
	assert_int_equal(socket_send(fds[0], "ab", 2, pipe_fds, 2), 2);
	assert_int_equal(socket_receive(fds[1], data, sizeof(data), got, &ngot), 2);
	assert_int_equal(ngot, 2);
	assert_true(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
	assert_int_equal(write(got[1], "z", 1), 1);
	assert_int_equal(read(pipe_fds[0], data, 1), 1);
	for (int i = 0; i < 2; i++) {
		close(got[i]);
		close(pipe_fds[i]);
	}
	close(fds[0]);
	assert_int_equal(socket_receive(fds[1], data, sizeof(data), got, &ngot), 0);
	assert_int_equal(socket_send(fds[1], "x", 1, NULL, 0), -EPIPE);
	close(fds[1]);
}

/* More than fit are refused by the sender here, and by the receiver where the sender is not us. */
static void test_too_many_descriptors(void **state _unused_)
{
	int fds[2], many[SOCKET_MAX_FDS + 1], got[SOCKET_MAX_FDS];
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(many))];
	} control = {};
	struct iovec part = { .iov_base = (char[]){ 'x' }, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	size_t ngot = 0;
	char c;

	for (size_t i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = STDERR_FILENO;
	assert_int_equal(socket_pair(fds), 0);
	assert_int_equal(socket_send(fds[0], "x", 1, many, ARRAY_SIZE(many)), -EINVAL);
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(many));
	memcpy(CMSG_DATA(&control.header), many, sizeof(many));

	int before = dup(0);

	close(before);
	assert_int_equal(sendmsg(fds[0], &message, 0), 1);
	assert_int_equal(socket_receive(fds[1], &c, 1, got, &ngot), -EPROTO);
	assert_int_equal(ngot, 0);

	int after = dup(0);

	close(after);
	assert_int_equal(before, after); /* none of the received ones is left open */
	close(fds[0]);
	close(fds[1]);
}

static void test_pipes_are_read_and_written(void **state _unused_)
{
	int pipe_fds[2], got[SOCKET_MAX_FDS];
	size_t ngot = 99;
	char data[8];

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	assert_int_equal(socket_send(pipe_fds[1], "abc", 3, NULL, 0), 3);
	assert_true(socket_send(pipe_fds[1], "abc", 3, pipe_fds, 1) < 0);
	assert_int_equal(socket_receive(pipe_fds[0], data, sizeof(data), got, &ngot), 3);
	assert_int_equal(ngot, 0);
	assert_int_equal(fd_set_nonblocking(pipe_fds[0]), 0);
	assert_int_equal(socket_receive(pipe_fds[0], data, sizeof(data), got, &ngot), -EAGAIN);
	assert_int_equal(fd_set_cloexec(pipe_fds[0], false), 0);
	assert_int_equal(fcntl(pipe_fds[0], F_GETFD), 0);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	assert_int_equal(fd_set_nonblocking(pipe_fds[0]), -EBADF);
}

#define SOCKET_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

/* A VMM's socket, and what a client gets of it: the answer to its line, and then the guest's bytes.
 */
static int connect_to(struct fixture *f, const char *answer)
{
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *address = xasprintf("hvsock://%s:1024", f->path);
	char line[32] = "";
	int listener, fd = -EBADF;

	assert_int_equal(socket_listen_unix(f->path, 0600, &listener, &err), 0);
	pid_t pid = fork();
	if (pid == 0) {
		int peer = -1;
		while (peer < 0)
			peer = accept(listener, NULL, NULL);
		for (size_t len = 0; len < strlen("CONNECT 1024\n");)
			len += (size_t)read(peer, line + len, sizeof(line) - len);
		bool right = strcmp(line, "CONNECT 1024\n") == 0;
		_exit(write_full(peer, answer, strlen(answer)) == 0 && right ? 0 : 1);
	}
	close(listener);
	int r = socket_connect(address, &fd, &err), status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	unlink(f->path);
	return r < 0 ? r : fd;
}

static void test_hybrid_vsock(void **state)
{
	_cleanup_(error_done) struct error err = {};
	char rest[8] = "";
	int fd = connect_to(*state, "OK 1073741824\nrest");

	assert_true(fd >= 0);
	assert_int_equal(read(fd, rest, sizeof(rest) - 1), 4);
	assert_string_equal(rest, "rest");
	close(fd);
	assert_int_equal(connect_to(*state, "NO\n"), -EPROTO);
	assert_int_equal(connect_to(*state, ""), -ECONNRESET);
	assert_int_equal(socket_connect("hvsock:///tmp/x", &fd, &err), -EINVAL);
	assert_int_equal(socket_connect("hvsock://:1", &fd, &err), -EINVAL);
	assert_int_equal(socket_connect("hvsock:///tmp/x:y", &fd, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SOCKET_TEST(test_listen_and_connect),
		SOCKET_TEST(test_in_use_is_refused),
		SOCKET_TEST(test_stale_is_taken_over),
		SOCKET_TEST(test_only_a_dead_one_is_removed),
		SOCKET_TEST(test_other_files_are_left_alone),
		SOCKET_TEST(test_bad_addresses),
		SOCKET_TEST(test_hybrid_vsock),
		cmocka_unit_test(test_abstract),
		cmocka_unit_test(test_descriptors_travel),
		cmocka_unit_test(test_too_many_descriptors),
		cmocka_unit_test(test_pipes_are_read_and_written),
	};

	return cmocka_run_group_tests_name("socket", tests, NULL, NULL);
}
