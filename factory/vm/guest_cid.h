/* The context id by which a machine's guest is reached by vsock, where its machine has a
 * vhost-vsock device (linux/vhost.h, VHOST_VSOCK_SET_GUEST_CID).
 *
 * An id belongs to the open descriptor of /dev/vhost-vsock that has reserved it. QEMU gets that
 * descriptor, and nobody else keeps it: the id is free when the machine's process has ended, and
 * nothing has to be removed. Ids are drawn from all that there are, so that one whose machine has
 * ended is not soon another one's: who still has its number reaches nobody. */
#pragma once

#include <stdint.h>

#include "base/error.h"

enum { GUEST_CID_FIRST = 3 }; /* below are the hypervisor, the loop and the host */

/* Needs root. The descriptor is the caller's. -ENOENT: this host has no vhost-vsock. */
_must_check_ int guest_cid_reserve(int *ret_fd, uint32_t *ret_cid, struct error *err);

/* The context id of these 32 bits of chance; 0: they are none that a guest may have. */
uint32_t guest_cid_of(uint32_t chance);
