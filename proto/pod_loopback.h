/* How a pod's network namespace reaches the loopback of its machine: both ends agree on this.
 *
 * The namespace has the address POD_LOOPBACK_PEER at the machine's tap, whose hardware address is
 * POD_LOOPBACK_MAC, and sends there what is for 127.0.0.1 (shim/pod_loopback.h). The guest is told
 * a route to it and a neighbour of it; an interface with that neighbour takes packets for
 * 127.0.0.0/8 (agent/routes.h). The address is link-local, and of nobody else's choosing.
 */
#pragma once

#include "base/cleanup.h"

#define POD_LOOPBACK_PEER                                                                          \
	{                                                                                          \
		169, 254, 107, 105                                                                 \
	}
#define POD_LOOPBACK_MAC                                                                           \
	{                                                                                          \
		0x02, 0x6b, 0x69, 0x6c, 0x6e, 0x01                                                 \
	}

/* An interface takes packets that come from or go to 127.0.0.0/8. fd: netlink_socket(). 0, or the
 * kernel's negative errno. */
_must_check_ int interface_open_loopback(int fd, int index);
