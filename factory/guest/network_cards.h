/* The network cards of a machine (virtio-net), which are in its template and waiting in each clone
 * with their link down. Behind each is a tap of the machine's own (factory/jail/tap.h), which its
 * claimer moves into the network namespace of its pod. */
#pragma once

#define NETWORK_CARDS     1
#define NETWORK_CARDS_MAX 8 /* functions of a PCI slot */

#define NETWORK_CARD_TAP    "kiln%zu"   /* the tap of card N, as it is made and when it was moved */
#define NETWORK_CARD_DEVICE "ua-nic%zu" /* QEMU's name of card N */
#define NETWORK_CARD_GUEST  "eth%zu"    /* the guest's, while it waits */

#define NETWORK_CARD_PCI_SLOT 0x6 /* card N is its function N */
