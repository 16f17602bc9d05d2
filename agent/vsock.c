#include "agent/vsock.h"

#include <sys/socket.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/memory.h"
#include "base/socket.h"
#include "proto/ttrpc_server.h"

enum { PRIVILEGED_PORTS = 1024 }; /* the kernel's LAST_RESERVED_PORT */

struct vsock_listener {
	struct agent *agent; /* borrowed */
	bool any_port;
	struct loop_watch *watch; /* owned */
	int fd;                   /* owned */
};

bool vsock_peer_may(const struct sockaddr_vm *peer, bool any_port)
{
	return peer->svm_family == AF_VSOCK && peer->svm_cid == VMADDR_CID_HOST &&
	       (any_port || peer->svm_port < PRIVILEGED_PORTS);
}

static void on_connection(int listener_fd, unsigned events _unused_, void *userdata)
{
	struct vsock_listener *listener = userdata;
	struct sockaddr_vm peer = {};
	socklen_t len = sizeof(peer);
	struct ttrpc_conn *conn;
	_cleanup_close_ int fd = accept4(listener_fd, (struct sockaddr *)&peer, &len,
					 SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (!vsock_peer_may(&peer, listener->any_port)) {
		log_warning(NULL, "vsock connection from context %u, port %u refused", peer.svm_cid,
			    peer.svm_port);
		return;
	}
	if (ttrpc_server_serve(listener->agent->server, steal_fd(&fd), false, &conn) < 0)
		log_warning(NULL, "vsock connection refused: there are too many");
}

int vsock_listener_new(struct agent *agent, unsigned port, bool any_port,
		       struct vsock_listener **ret, struct error *err)
{
	int fd;
	int r = socket_listen_vsock(port, &fd, err);

	if (r == -EAFNOSUPPORT)
		return error_set(err, EOPNOTSUPP, "this kernel has no vsock");
	if (r < 0)
		return r;

	struct vsock_listener *listener = xnew(struct vsock_listener);

	listener->agent = agent;
	listener->any_port = any_port;
	listener->fd = fd;
	listener->watch = loop_watch_new(agent->loop, fd, LOOP_READ, on_connection, listener);
	*ret = listener;
	return 0;
}

void vsock_listener_free(struct vsock_listener *listener)
{
	if (!listener)
		return;
	loop_watch_free(listener->watch);
	close_fd(listener->fd);
	free(listener);
}
