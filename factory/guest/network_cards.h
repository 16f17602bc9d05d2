/* The network cards of a machine (virtio-net). Some are in its template and wait in each clone with
 * their link down; the others, up to NETWORK_CARDS_MAX in all, are plugged in for a pod that has
 * more interfaces (shim/card_plug.h). Behind each is a tap of the machine's own
 * (factory/jail/tap.h), which its claimer moves into the network namespace of its pod. */
#pragma once

#define NETWORK_CARDS     1 /* that wait */
#define NETWORK_CARDS_MAX 8 /* functions of a PCI slot, where all of them wait */

#define NETWORK_CARD_TAP    "kiln%zu"   /* the tap of card N, as it is made and when it was moved */
#define NETWORK_CARD_DEVICE "ua-nic%zu" /* QEMU's name of card N */
#define NETWORK_CARD_GUEST  "eth%zu"    /* the guest's, while it waits */

#define NETWORK_CARD_PCI_SLOT 0x6 /* card N is its function N, if it waits */

/* Card N where it was plugged in: what the guest knows it by when it comes, and its name then,
 * which no interface of a pod's has, for its tap has it. */
#define NETWORK_CARD_PLUGGED_MAC "02:6b:69:6c:63:%02zx"
#define NETWORK_CARD_PLUGGED     NETWORK_CARD_TAP
