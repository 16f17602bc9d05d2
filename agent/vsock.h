/* The agent's vsock listener, for hosts with vhost-vsock. Only the host may connect: vsock
 * knows no network namespaces, so the guest's own containers could reach the port, too. */
#pragma once

#include "agent/agent.h"
#include "base/error.h"

enum { VSOCK_AGENT_PORT = 1024 };

struct vsock_listener;

/* -EOPNOTSUPP where this kernel has no vsock. */
_must_check_ int vsock_listener_new(struct agent *agent, unsigned port, struct vsock_listener **ret,
				    struct error *err);
void vsock_listener_free(struct vsock_listener *listener);
DEFINE_CLEANUP(struct vsock_listener *, vsock_listener_free)
