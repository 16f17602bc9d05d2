/* A pod's network between its namespace and its machine. CNI, or a hook, has filled the namespace;
 * a machine's taps are still in the namespace of its VMM:
 *
 *   before   pod: eth0 (veth)                    VMM: kiln0 (tap, held by QEMU)
 *   after    pod: eth0 <-- redirects --> kiln0   VMM: nothing
 *
 * or, by the other model, by a macvtap that is made there for a card that is plugged in
 * (shim/macvtap.h), while those that wait are not used:
 *
 *   after    pod: eth0 <-- kiln1 (macvtap)       VMM: kiln0, and the macvtap's descriptor
 *
 * What the namespace has for each interface (addresses, routes, lasting neighbours, MTU, hardware
 * address) is told to the guest, whose card then is that interface. The namespace keeps its
 * addresses, for those who look there; to its own stack no frame comes any more, and with a macvtap
 * only those that are for all or for a group.
 *
 *   pod_network_read()     what the namespace has; before there is a machine
 *   pod_network_assign()   which card is which interface, also of those that have to be plugged in
 *                          first (shim/card_plug.h); does not block
 *   pod_network_make_tap() of a card that is plugged in
 *   pod_network_join()     taps moved, redirects made: that takes the kernel some 10 ms; or
 *                          macvtaps taken up
 *   pod_network_leave()    redirects and macvtaps removed; the taps go with the VMM
 *
 * What the namespace gets later is read as another one of these, which follows the first: an
 * interface keeps its card as long as it is there, also while it is down, and a new one gets a card
 * that waits or whose interface is gone, else one that is to be plugged in. A macvtap is gone with
 * its interface, so there a new one is always plugged in.
 *
 * All that open the namespace block, on locks of the kernel's that others may hold: for a worker
 * thread.
 */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "base/strings.h"
#include "factory/guest/network_cards.h"
#include "proto/agent.pb-c.h"
#include "proto/network.h"

/* How its interfaces and its machine's cards are joined: "tcfilter", "macvtap", as Kata Containers
 * has it. */
enum network_model { NETWORK_TCFILTER, NETWORK_MACVTAP };
DECLARE_STRING_TABLE(network_model, enum network_model);

/* All owned. */
struct pod_network {
	char *netns; /* path */
	enum network_model model;
	size_t used; /* cards that are nobody's any more; 0 but with NETWORK_MACVTAP */
	struct network has;
	const struct network_link *links[NETWORK_CARDS_MAX]; /* in `has`: what cards are for */
	size_t cards[NETWORK_CARDS_MAX];                     /* the card of each */
	size_t count;
	bool is_joined[NETWORK_CARDS_MAX]; /* each */
	bool is_told[NETWORK_CARDS_MAX];   /* the guest knows each as it is */
	bool joined;                       /* begun, at least */
	/* What the guest calls each card. */
	char guest_names[NETWORK_CARDS_MAX][IFNAMSIZ];
	char left_out[IFNAMSIZ]; /* an interface that came later and has no card; "": none */
	/* What the guest is told, in this order; interface N is links[N]. */
	Grpc__Interfaces *interfaces;
	Grpc__Routes *routes;
	Grpc__ARPNeighbors *neighbours;
};

/* -EINVAL, -EOPNOTSUPP: it is no namespace that a machine can have, with the reason (an interface
 * that is no Ethernet, ...); -EBUSY: another machine has it. */
_must_check_ int pod_network_read(const char *netns, enum network_model model,
				  struct pod_network **ret, struct error *err);

/* What it has now, with its cards assigned. cards: as many as the machine can have. What came later
 * and there is no card for, is left out. */
_must_check_ int pod_network_read_again(const struct pod_network *old, size_t cards,
					struct pod_network **ret, struct error *err);

/* Something that the guest is to know is not as it was. */
bool pod_network_has_changed(const struct pod_network *old, const struct pod_network *now);

/* A netlink socket that can be read when its links, addresses or routes change. */
_must_check_ int pod_network_watch(const struct pod_network *pod, int *ret_fd, struct error *err);

/* waiting: as many cards of the machine wait. An interface that is one of them by its name gets
 * that one, the others get what is left, and the next ones; with NETWORK_MACVTAP only those.
 * -EOPNOTSUPP: there are not so many. */
_must_check_ int pod_network_assign(struct pod_network *pod, size_t waiting, struct error *err);

/* How many cards the machine has to have. */
size_t pod_network_cards(const struct pod_network *pod);

/* The machine that its cards are of; borrowed. */
struct pod_network_machine {
	int vmm_pidfd;
	const char *vm_id;
};

_must_check_ int pod_network_make_tap(const struct pod_network *pod,
				      const struct pod_network_machine *machine, size_t card,
				      int *ret_tap, struct error *err);

/* Those that are not joined yet. The machine has the cards. */
_must_check_ int pod_network_join(struct pod_network *pod, int vmm_pidfd, struct error *err);

/* A namespace that is gone, or was never joined, is left alone. vm_id NULL: there was no machine.
 */
void pod_network_leave(const struct pod_network *pod, const char *vm_id);

void pod_network_free(struct pod_network *pod); /* NULL is nothing */
DEFINE_CLEANUP(struct pod_network *, pod_network_free)

/* The same as leaving, for a machine that is gone and whose shim was killed. A namespace that
 * another machine has meanwhile is left alone. */
void pod_network_clean(const char *netns, const char *vm_id);
