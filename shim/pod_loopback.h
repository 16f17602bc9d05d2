/* The loopback of a pod that is a machine: who connects to 127.0.0.1 in the pod's network
 * namespace, as containerd does to forward a port, reaches what listens in the guest, on its
 * 127.0.0.1 or on all its addresses. IPv4 only.
 *
 *   namespace   127.0.0.1 is no address of its own any more: it is a neighbour behind the tap
 *   tap         what the guest answers to POD_LOOPBACK_PEER is the namespace's
 *   interface   what comes from the pod's network for 127.0.0.0/8 is not redirected: the namespace
 *               gets it itself, and drops it, so that nobody else reaches the guest's loopback
 *
 * Source of the numbers: proto/pod_loopback.h.
 */
#pragma once

#include "shim/pod_network.h"

/* Tells the guest the other end, at the pod's first interface. */
void pod_loopback_tell(struct pod_network *pod);

/* fd: netlink, in the namespace. tap and link are indices of the first card's. Where it fails, the
 * rest of the pod's network is as good: a warning. */
void pod_loopback_join(int fd, int tap, const struct network_link *link);

/* The namespace has its own loopback again. */
void pod_loopback_leave(int fd);
