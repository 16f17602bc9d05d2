/* The host's ends of a machine's network cards. They are made with it, in the VMM's own network
 * namespace, by the process that becomes the VMM (of which the kernel wants CAP_NET_ADMIN then, and
 * nothing later), and QEMU gets them as descriptors. They are not persistent: each is gone with its
 * last descriptor, wherever it was moved.
 *
 * Where machines have vhost-net (linux/vhost.h), QEMU gets a descriptor of it for each tap, which
 * nobody has used before: the host's kernel then moves the packets between the two, as a thread of
 * that QEMU's. A machine has no such device itself. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "factory/guest/network_cards.h"

/* In the parent: descriptors of nothing, which stand where the taps' will be in the child, for
 * base/spawn.h wants to know their numbers before. */
struct taps {
	int fds[NETWORK_CARDS_MAX];       /* owned */
	int vhost_net[NETWORK_CARDS_MAX]; /* ditto, of /dev/vhost-net; -EBADF: none */
	size_t count;
};

/* vhost_net: with descriptors of it, which takes root. */
_must_check_ int taps_reserve(size_t count, bool vhost_net, struct taps *ret_taps,
			      struct error *err);
void taps_done(struct taps *taps);

/* Makes the tap of a card in the network namespace of the calling thread, by system calls only: its
 * descriptor, which does not block; or -1 with errno, and what failed. */
int tap_make(size_t card, const char **ret_what);

/* -ENOENT, -ENODEV: this host has no vhost-net. */
_must_check_ int vhost_net_open(int *ret_fd, struct error *err);

/* In the child, in its network namespace: system calls only; NULL, or what failed, with errno. */
const char *taps_make(const struct taps *taps);

/* The hook of spawn() for a VMM that has no jail: a network namespace, and its taps in it. */
int taps_enter(void *data, const char **ret_what);
