/* Network namespaces of others: the pod's, which CNI has filled, and the VMM's, which has the taps.
 */
#pragma once

#include "base/error.h"

/* The namespace at a path. -EOPNOTSUPP: it is the host's, that is our own; -EINVAL: it is none. */
_must_check_ int netns_open(const char *path, int *ret_fd, struct error *err);

/* A netlink socket in a namespace, named by its descriptor or by the pidfd of a process in it. Ours
 * stays what it is: a thread that lives no longer than this enters the other one. */
_must_check_ int netns_netlink(int fd, int *ret_socket, struct error *err);
