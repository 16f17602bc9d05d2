/* Sockets: Unix and vsock addresses, descriptor passing, the caller's identity.
 * All descriptors made here are close-on-exec and non-blocking. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

#define SOCKET_MAX_FDS 8 /* descriptors one message may carry */

/* Credentials of the peer as the kernel has them (SO_PEERCRED). */
struct peer {
	pid_t pid;
	uid_t uid;
	gid_t gid;
};

/* -ENAMETOOLONG where path is longer than a Unix socket's can be, -EINVAL where it is empty: the
 * errors of listening and connecting, for a caller who wants them before it has a socket. */
_must_check_ int socket_check_path(const char *path, struct error *err);

/* Binds and listens on a Unix path with mode. A socket file nobody answers on (its owner is
 * dead) is taken over; one somebody answers on gives -EADDRINUSE. */
_must_check_ int socket_listen_unix(const char *path, mode_t mode, int *ret_fd, struct error *err);

/* Removes the file of a Unix socket that nobody listens on, as socket_listen_unix() does.
 * -EADDRINUSE: somebody does; -EWOULDBLOCK: somebody is about to, in this folder. A path that is
 * not there is success. */
_must_check_ int socket_remove_dead(const char *path, struct error *err);

/* The same for a socket of packets (SOCK_SEQPACKET), and the connecting to it: -EAGAIN where its
 * queue of connections is full. */
_must_check_ int socket_listen_packets(const char *path, mode_t mode, int *ret_fd,
				       struct error *err);
_must_check_ int socket_connect_packets(const char *path, int *ret_fd, struct error *err);

/* Connects to "unix:///path", "unix://@abstract", a bare path, "vsock://CID:PORT", or
 * "hvsock:///path:PORT", the Unix socket of a VMM that stands for its guest's vsock. By vsock, who
 * has CAP_NET_BIND_SERVICE connects from a port below 1024, which is how a guest knows it. */
_must_check_ int socket_connect(const char *address, int *ret_fd, struct error *err);

_must_check_ int socket_listen_vsock(unsigned port, int *ret_fd, struct error *err);

_must_check_ int socket_peer(int fd, struct peer *ret_peer);

/* Connected pair of Unix stream sockets. */
_must_check_ int socket_pair(int ret_fds[static 2]);

/* One sendmsg/recvmsg. Bytes moved, 0 at the end of the stream, or a negative errno. On a
 * descriptor that is no socket they are plain write and read (no descriptors then). Received
 * descriptors belong to the caller; more than SOCKET_MAX_FDS are closed and give -EPROTO. */
ssize_t socket_send(int fd, const void *data, size_t len, const int *fds, size_t nfds);
ssize_t socket_receive(int fd, void *data, size_t len, int ret_fds[static SOCKET_MAX_FDS],
		       size_t *ret_nfds);

_must_check_ int fd_set_nonblocking(int fd);
_must_check_ int fd_set_cloexec(int fd, bool on);
