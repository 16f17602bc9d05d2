/* A card's end in the pod's network namespace that is a macvtap over the pod's interface, instead
 * of a tap and redirects: each frame that comes in by the interface goes to whoever has the
 * descriptor, and what is written there leaves by the interface.
 *
 * Its mode is passthru: the macvtap has the interface's hardware address, and there is one at most.
 * So the interface keeps its address and its addresses, which mode bridge would take from it; in
 * return the namespace's own stack hears what is for all or for a group, too, and answers ARP and
 * neighbour solicitations with the same hardware address as the guest does.
 *
 * Unlike a tap it does not go with its last descriptor: its alias is the id of the machine, by
 * which macvtap_remove() finds it. It goes with the interface and with the namespace.
 *
 * Source: linux/if_link.h, linux/if_tun.h; the device's number is in sysfs alone, and an
 * interface's number, which devtmpfs names its node after, is another interface's in each
 * namespace.
 */
#pragma once

#include <stddef.h>

#include "base/error.h"

/* Makes that of a card, which is still down, named as its tap would be. netns, link: the pod's
 * namespace, and its interface there; vm_id: the machine's. -EBUSY: the interface is not free for
 * it. On failure nothing is left. Blocks. */
_must_check_ int macvtap_make(int netns, int link, size_t card, const char *vm_id, int *ret_tap,
			      struct error *err);

/* fd: netlink, in the namespace. All that the machine has there. */
void macvtap_remove(int fd, const char *vm_id);
