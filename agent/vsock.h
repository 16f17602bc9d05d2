/* The agent's vsock listener, for hosts with vhost-vsock. Only the host may connect: vsock
 * knows no network namespaces, so the guest's own containers could reach the port, too.
 *
 * For the same reason all users and containers of the host could. So the host's end must have a
 * port below 1024 as well, which its kernel gives to who has CAP_NET_BIND_SERVICE there. Clients
 * that know nothing of this, as Kata's own, need "agent.vsock=any" on the guest's kernel command
 * line. */
#pragma once

#include <linux/vm_sockets.h>

#include "agent/agent.h"
#include "base/error.h"

#define VSOCK_PARAMETER     "agent.vsock"
#define VSOCK_PARAMETER_ANY "any"

struct vsock_listener;

/* -EOPNOTSUPP where this kernel has no vsock. */
_must_check_ int vsock_listener_new(struct agent *agent, unsigned port, bool any_port,
				    struct vsock_listener **ret, struct error *err);
/* Whether the other end of a connection may have it. */
bool vsock_peer_may(const struct sockaddr_vm *peer, bool any_port);
void vsock_listener_free(struct vsock_listener *listener);
DEFINE_CLEANUP(struct vsock_listener *, vsock_listener_free)
