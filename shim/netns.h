/* Network namespaces: the pod's, which CNI has filled, and the VMM's, which has the taps. */
#pragma once

#include <sys/types.h>

#include "base/error.h"

/* The namespace at a path. -EOPNOTSUPP: it is the host's, that is our own, or that of another
 * machine's VMM; -EINVAL: it is none. */
_must_check_ int netns_open(const char *path, int *ret_fd, struct error *err);

/* A netlink socket in a namespace, named by its descriptor or by the pidfd of a process in it. Ours
 * stays what it is: a thread that lives no longer than this enters the other one. */
_must_check_ int netns_netlink(int fd, int *ret_socket, struct error *err);

/* A sysfs that shows a namespace's interfaces, mounted nowhere: for openat(). */
_must_check_ int netns_sysfs(int fd, int *ret_mount, struct error *err);

/* The tap of a machine's card (factory/jail/tap.h), made in such a namespace. */
_must_check_ int netns_tap(int fd, size_t card, int *ret_tap, struct error *err);

/* A thread that does nothing but be in a network namespace, which so has a number, /proc/ID/ns/net,
 * for programs that want to be told a process (shim/hooks.h), and lasts as long as this. */
struct netns_keeper;

/* path NULL: a new namespace, with its loopback up. */
_must_check_ int netns_keep(const char *path, struct netns_keeper **ret, struct error *err);
/* The namespace of a process. */
_must_check_ int netns_keep_process(int pidfd, struct netns_keeper **ret, struct error *err);
pid_t netns_keeper_id(const struct netns_keeper *keeper);
char *netns_keeper_path(const struct netns_keeper *keeper); /* the caller frees */
void netns_keeper_free(struct netns_keeper *keeper);        /* NULL is nothing */
