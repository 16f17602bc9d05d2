#include "base/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

#define SOCKET_FLAGS          (SOCK_CLOEXEC | SOCK_NONBLOCK)
#define VSOCK_CONNECT_TIMEOUT 2000 /* ms; what the kernel itself waits for a guest */
#define VSOCK_PORT_FIRST      512  /* as rresvport() has it for IP */
#define VSOCK_PORT_LAST       1023

/* ---------------------------------------------------------------- Unix addresses */

int socket_check_path(const char *path, struct error *err)
{
	const size_t max = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;
	size_t len = strlen(path);

	if (len == 0)
		return error_set(err, EINVAL, "the socket's path is empty");
	if (len > max)
		return error_set(err, ENAMETOOLONG,
				 "socket path %s has %zu bytes, more than the %zu a Unix socket "
				 "can have",
				 path, len, max);
	return 0;
}

static int unix_address(const char *path, struct sockaddr_un *ret_addr, socklen_t *ret_len,
			struct error *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	size_t len = strlen(path);
	int r = socket_check_path(path, err);

	if (r < 0)
		return r;
	memcpy(addr.sun_path, path, len);
	*ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
	if (path[0] == '@') {
		/* An abstract name is exactly its bytes: no terminator. */
		addr.sun_path[0] = '\0';
		*ret_len -= 1;
	}
	*ret_addr = addr;
	return 0;
}

static int unix_connect(const char *path, int type, int *ret_fd, struct error *err)
{
	struct sockaddr_un addr;
	socklen_t len = 0;
	int r = unix_address(path, &addr, &len, err);

	if (r < 0)
		return r;

	_cleanup_close_ int fd = socket(AF_UNIX, type | SOCKET_FLAGS, 0);

	if (fd < 0)
		return error_set_errno(err, errno, "cannot make a socket");
	if (connect(fd, (struct sockaddr *)&addr, len) < 0)
		return error_set_errno(err, errno, "cannot connect to %s", path);
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* ---------------------------------------------------------------- listening */

/* Starters of the same socket take turns: without it, one could take the other's fresh socket,
 * bound but not listening yet, for a dead one's. The lock ends with the descriptor. */
static int lock_folder_of(const char *path, int how, int *ret_fd, struct error *err)
{
	_cleanup_free_ char *copy = xstrdup(path);
	const char *dir = dirname(copy);
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || flock(fd, how) < 0)
		return error_set_errno(err, errno, "cannot use the folder %s of socket %s", dir,
				       path);
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* 0 where path was a dead one's socket and is gone now. */
static int remove_stale(const char *path, int type, struct error *err)
{
	struct stat st;
	_cleanup_close_ int probe = -EBADF;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : error_set_errno(err, errno, "cannot look at %s", path);
	if (!S_ISSOCK(st.st_mode))
		return error_set(err, EADDRINUSE, "%s exists and is no socket", path);

	_cleanup_(error_done) struct error refusal = {};
	int r = unix_connect(path, type, &probe, &refusal);

	/* A full backlog is somebody, too. */
	if (r >= 0 || r == -EAGAIN)
		return error_set(err, EADDRINUSE, "another process is listening on %s", path);
	if (r != -ECONNREFUSED && r != -ENOENT) {
		error_move(err, &refusal);
		return r;
	}
	if (unlink(path) < 0 && errno != ENOENT)
		return error_set_errno(err, errno, "cannot remove the stale socket %s", path);
	return 0;
}

static int bind_unix(int fd, int type, const char *path, mode_t mode, struct error *err)
{
	struct sockaddr_un addr;
	socklen_t len = 0;
	int r = unix_address(path, &addr, &len, err);

	if (r < 0)
		return r;
	/* The file gets the mode of the unbound socket less the umask, so it is never wider than
	 * it should be; chmod then gives back what the umask took. */
	if (fchmod(fd, mode) < 0)
		return error_set_errno(err, errno, "cannot set the mode of socket %s", path);
	r = bind(fd, (struct sockaddr *)&addr, len);
	if (r < 0 && errno == EADDRINUSE) {
		r = remove_stale(path, type, err);
		if (r < 0)
			return r;
		r = bind(fd, (struct sockaddr *)&addr, len);
	}
	if (r < 0)
		return error_set_errno(err, errno, "cannot bind socket %s", path);
	if (chmod(path, mode) < 0 || listen(fd, SOMAXCONN) < 0) {
		r = error_set_errno(err, errno, "cannot listen on %s", path);
		unlink(path);
		return r;
	}
	return 0;
}

static int listen_unix(const char *path, int type, mode_t mode, int *ret_fd, struct error *err)
{
	_cleanup_close_ int lock = -EBADF;

	if (path[0] == '@')
		return error_set(err, EINVAL, "%s is abstract: a socket file is needed", path);

	_cleanup_close_ int fd = socket(AF_UNIX, type | SOCKET_FLAGS, 0);

	if (fd < 0)
		return error_set_errno(err, errno, "cannot make a socket");

	int r = lock_folder_of(path, LOCK_EX, &lock, err);

	if (r < 0)
		return r;
	r = bind_unix(fd, type, path, mode, err);
	if (r < 0)
		return r;
	*ret_fd = steal_fd(&fd);
	return 0;
}

int socket_listen_unix(const char *path, mode_t mode, int *ret_fd, struct error *err)
{
	return listen_unix(path, SOCK_STREAM, mode, ret_fd, err);
}

int socket_listen_packets(const char *path, mode_t mode, int *ret_fd, struct error *err)
{
	return listen_unix(path, SOCK_SEQPACKET, mode, ret_fd, err);
}

int socket_remove_dead(const char *path, struct error *err)
{
	_cleanup_close_ int lock = -EBADF;
	int r = lock_folder_of(path, LOCK_EX | LOCK_NB, &lock, err);

	return r < 0 ? r : remove_stale(path, SOCK_STREAM, err);
}

int socket_listen_vsock(unsigned port, int *ret_fd, struct error *err)
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK,
		.svm_cid = VMADDR_CID_ANY,
		.svm_port = port,
	};
	_cleanup_close_ int fd = socket(AF_VSOCK, SOCK_STREAM | SOCKET_FLAGS, 0);

	if (fd < 0)
		return error_set_errno(err, errno, "cannot make a vsock socket");
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, SOMAXCONN) < 0)
		return error_set_errno(err, errno, "cannot listen on vsock port %u", port);
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* ---------------------------------------------------------------- connecting */

/* Waits until a connect under way has ended; 0 or its negative errno. */
static int connect_wait(int fd, int timeout_ms)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLOUT };
	int n, status = 0;
	socklen_t len = sizeof(status);

	do
		n = poll(&poll_fd, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n == 0)
		return -ETIMEDOUT;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &status, &len) < 0)
		return -errno;
	return -status;
}

static int vsock_parse(const char *text, struct sockaddr_vm *ret_addr)
{
	const char *colon = strchr(text, ':');
	uint64_t cid, port;

	if (!colon)
		return -EINVAL;

	_cleanup_free_ char *cid_text = xstrndup(text, (size_t)(colon - text));

	if (str_to_u64(cid_text, 0, UINT32_MAX, &cid) < 0 ||
	    str_to_u64(colon + 1, 0, UINT32_MAX, &port) < 0)
		return -EINVAL;
	*ret_addr = (struct sockaddr_vm){
		.svm_family = AF_VSOCK,
		.svm_cid = (unsigned)cid,
		.svm_port = (unsigned)port,
	};
	return 0;
}

/* Where none is free, or the kernel gives us none, the connection has another port. */
static void take_privileged_port(int fd)
{
	struct sockaddr_vm addr = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY };

	for (unsigned port = VSOCK_PORT_LAST; port >= VSOCK_PORT_FIRST; port--) {
		addr.svm_port = port;
		if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 ||
		    (errno != EADDRINUSE && errno != EADDRNOTAVAIL))
			return;
	}
}

static int vsock_connect(const char *text, int *ret_fd, struct error *err)
{
	struct sockaddr_vm addr;

	if (vsock_parse(text, &addr) < 0)
		return error_set(err, EINVAL, "vsock://%s is not vsock://CID:PORT", text);

	_cleanup_close_ int fd = socket(AF_VSOCK, SOCK_STREAM | SOCKET_FLAGS, 0);

	if (fd < 0)
		return error_set_errno(err, errno, "cannot make a vsock socket");
	take_privileged_port(fd);

	int r = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;

	if (r == -EINPROGRESS)
		r = connect_wait(fd, VSOCK_CONNECT_TIMEOUT);
	if (r < 0)
		return error_set_errno(err, r, "cannot connect to vsock://%s", text);
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* The line "OK N", read byte by byte: what follows it is the guest's. */
static int read_greeting(int fd, char *line, size_t size)
{
	for (size_t len = 0; len + 1 < size; len++) {
		struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
		if (poll(&poll_fd, 1, VSOCK_CONNECT_TIMEOUT) <= 0)
			return -ETIMEDOUT;
		ssize_t n = read(fd, line + len, 1);
		if (n <= 0)
			return n < 0 ? -errno : -ECONNRESET;
		line[len + 1] = '\0';
		if (line[len] == '\n')
			return str_after(line, "OK ") ? 0 : -EPROTO;
	}
	return -EPROTO;
}

/* The Unix socket of a VMM that stands for the guest's vsock (Firecracker, Cloud Hypervisor): a
 * line says to which port. */
static int hybrid_connect(const char *text, int *ret_fd, struct error *err)
{
	const char *colon = strrchr(text, ':');
	char line[64] = "";
	uint64_t port;

	if (!colon || colon == text || str_to_u64(colon + 1, 0, UINT32_MAX, &port) < 0)
		return error_set(err, EINVAL, "hvsock://%s is not hvsock:///PATH:PORT", text);
	_cleanup_free_ char *path = xstrndup(text, (size_t)(colon - text));
	_cleanup_close_ int fd = -EBADF;
	int r = unix_connect(path, SOCK_STREAM, &fd, err);
	if (r < 0)
		return r;
	int len = snprintf(line, sizeof(line), "CONNECT %u\n", (unsigned)port);
	r = write_full(fd, line, (size_t)len);
	if (r == 0)
		r = read_greeting(fd, line, sizeof(line));
	if (r < 0)
		return error_set_errno(err, r, "%s does not connect to port %u of the guest", path,
				       (unsigned)port);
	*ret_fd = steal_fd(&fd);
	return 0;
}

int socket_connect(const char *address, int *ret_fd, struct error *err)
{
	const char *rest = str_after(address, "vsock://");

	if (rest)
		return vsock_connect(rest, ret_fd, err);
	rest = str_after(address, "hvsock://");
	if (rest)
		return hybrid_connect(rest, ret_fd, err);
	rest = str_after(address, "unix://");
	if (!rest && strstr(address, "://"))
		return error_set(err, EINVAL,
				 "%s is no address known here: unix:///PATH, vsock://CID:PORT or "
				 "hvsock:///PATH:PORT",
				 address);
	return unix_connect(rest ? rest : address, SOCK_STREAM, ret_fd, err);
}

int socket_connect_packets(const char *path, int *ret_fd, struct error *err)
{
	return unix_connect(path, SOCK_SEQPACKET, ret_fd, err);
}

int socket_peer(int fd, struct peer *ret_peer)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -errno;
	*ret_peer = (struct peer){ .pid = cred.pid, .uid = cred.uid, .gid = cred.gid };
	return 0;
}

int socket_pair(int ret_fds[static 2])
{
	return socketpair(AF_UNIX, SOCK_STREAM | SOCKET_FLAGS, 0, ret_fds) < 0 ? -errno : 0;
}

/* ---------------------------------------------------------------- moving bytes */

union control {
	struct cmsghdr header; /* for its alignment */
	char space[CMSG_SPACE(SOCKET_MAX_FDS * sizeof(int))];
};

static void attach_fds(struct msghdr *message, union control *control, const int *fds, size_t nfds)
{
	memset(control, 0, sizeof(*control));
	message->msg_control = control;
	message->msg_controllen = CMSG_SPACE(nfds * sizeof(int));

	struct cmsghdr *header = CMSG_FIRSTHDR(message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(nfds * sizeof(int));
	memcpy(CMSG_DATA(header), fds, nfds * sizeof(int));
}

ssize_t socket_send(int fd, const void *data, size_t len, const int *fds, size_t nfds)
{
	struct iovec part = { .iov_base = (void *)data, .iov_len = len };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	union control control;
	ssize_t n;

	if (nfds > SOCKET_MAX_FDS || (!fds && nfds > 0))
		return -EINVAL;
	if (fds && nfds > 0)
		attach_fds(&message, &control, fds, nfds);
	do {
		n = sendmsg(fd, &message, MSG_NOSIGNAL);
		if (n < 0 && errno == ENOTSOCK && nfds == 0)
			n = write(fd, data, len);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static void collect_fds(struct msghdr *message, int ret_fds[static SOCKET_MAX_FDS],
			size_t *ret_nfds)
{
	struct cmsghdr *header;

	for (header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
			continue;

		/* The buffer has room for no more than SOCKET_MAX_FDS. */
		size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		memcpy(ret_fds + *ret_nfds, CMSG_DATA(header), count * sizeof(int));
		*ret_nfds += count;
	}
}

ssize_t socket_receive(int fd, void *data, size_t len, int ret_fds[static SOCKET_MAX_FDS],
		       size_t *ret_nfds)
{
	struct iovec part = { .iov_base = data, .iov_len = len };
	union control control;
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;

	*ret_nfds = 0;
	do {
		n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
		if (n < 0 && errno == ENOTSOCK) {
			message.msg_controllen = 0;
			n = read(fd, data, len);
		}
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;

	collect_fds(&message, ret_fds, ret_nfds);
	if (message.msg_flags & MSG_CTRUNC) {
		while (*ret_nfds > 0)
			close_fd(ret_fds[--*ret_nfds]);
		return -EPROTO;
	}
	return n;
}

/* ---------------------------------------------------------------- flags */

int fd_set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	if (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

int fd_set_cloexec(int fd, bool on)
{
	return fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) < 0 ? -errno : 0;
}
