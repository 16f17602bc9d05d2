#include "shim/pod_network.h"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/memory.h"
#include "base/strings.h"
#include "factory/guest/redirect.h"
#include "proto/netlink.h"
#include "shim/macvtap.h"
#include "shim/netns.h"
#include "shim/pod_loopback.h"

enum { TAP_MTU_MAX = 65521 };

static const char *const network_model_names[] = {
	[NETWORK_TCFILTER] = "tcfilter",
	[NETWORK_MACVTAP] = "macvtap",
};
DEFINE_STRING_TABLE(network_model, enum network_model, network_model_names)

static void free_message(ProtobufCMessage *message)
{
	protobuf_c_message_free_unpacked(message, NULL);
}

void pod_network_free(struct pod_network *pod)
{
	if (!pod)
		return;
	free_message((ProtobufCMessage *)pod->interfaces);
	free_message((ProtobufCMessage *)pod->routes);
	free_message((ProtobufCMessage *)pod->neighbours);
	network_done(&pod->has);
	free(pod->netns);
	free(pod);
}

/* ---------------------------------------------------------------- which interfaces */

static bool is_tap(const struct network_link *link)
{
	for (size_t card = 0; card < NETWORK_CARDS_MAX; card++) {
		_cleanup_free_ char *name = xasprintf(NETWORK_CARD_TAP, card);

		if (str_equal(link->name, name))
			return true;
	}
	return false;
}

/* What is down is nobody's: kernels put such tunnels into each namespace. */
static bool is_wanted(const struct network_link *link)
{
	return link->flags & IFF_UP && !(link->flags & IFF_LOOPBACK);
}

/* Which one of them it is; -1: none. */
static int position(const struct pod_network *pod, int index)
{
	for (size_t i = 0; i < pod->count; i++)
		if (pod->links[i]->index == index)
			return (int)i;
	return -1;
}

/* Of those that came later the first to come get the cards there are left. */
static void choose_again(struct pod_network *pod, const struct pod_network *old, size_t cards)
{
	size_t left = cards - old->used;

	for (size_t i = 0; old->model == NETWORK_TCFILTER && i < pod->has.links.count; i++)
		left -= position(old, pod->has.links.items[i].index) >= 0;
	for (size_t i = 0; i < pod->has.links.count; i++) {
		const struct network_link *link = &pod->has.links.items[i];
		bool stays = position(old, link->index) >= 0;

		if (!stays && (is_tap(link) || !is_wanted(link) || link->type != ARPHRD_ETHER ||
			       !link->has_mac))
			continue;
		if (!stays && left == 0) {
			snprintf(pod->left_out, sizeof(pod->left_out), "%s", link->name);
			continue;
		}
		left -= !stays;
		pod->links[pod->count++] = link;
	}
}

static int choose(struct pod_network *pod, struct error *err)
{
	for (size_t i = 0; i < pod->has.links.count; i++) {
		const struct network_link *link = &pod->has.links.items[i];

		if (is_tap(link))
			return error_set(err, EBUSY,
					 "another machine is in the network namespace %s (%s)",
					 pod->netns, link->name);
		if (!is_wanted(link))
			continue;
		if (link->type != ARPHRD_ETHER || !link->has_mac)
			return error_set(err, EOPNOTSUPP,
					 "interface %s of the pod is no Ethernet, which a "
					 "machine's card is",
					 link->name);
		if (pod->count == NETWORK_CARDS_MAX)
			return error_set(err, EOPNOTSUPP,
					 "interface %s of the pod is one too many: a machine has "
					 "%d network cards at most",
					 link->name, NETWORK_CARDS_MAX);
		pod->links[pod->count++] = link;
	}
	return 0;
}

static bool is_chosen(const struct pod_network *pod, int index)
{
	return position(pod, index) >= 0;
}

/* ---------------------------------------------------------------- what the guest is told */

static bool same_prefix(const struct network_address *a, const struct network_address *b)
{
	unsigned whole = a->prefix / 8, rest = a->prefix % 8;

	return a->family == b->family && a->prefix == b->prefix &&
	       memcmp(a->bytes, b->bytes, whole) == 0 &&
	       (rest == 0 || (a->bytes[whole] ^ b->bytes[whole]) >> (8 - rest) == 0);
}

/* The route that the kernel makes for an address was kept by whoever gave it: else the address is
 * told with all its bits, and the guest's kernel makes none. */
static bool has_own_route(const struct pod_network *pod, const struct network_link_address *entry)
{
	for (size_t i = 0; i < pod->has.routes.count; i++) {
		const struct network_route *route = &pod->has.routes.items[i];

		if (route->protocol == RTPROT_KERNEL && route->link == entry->link &&
		    same_prefix(&route->to, &entry->address))
			return true;
	}
	return false;
}

/* An address that comes and goes is for the guest's kernel to make, as this one did. */
static bool lasts(const struct network_link_address *entry)
{
	return entry->address.family == AF_INET ||
	       (entry->flags & IFA_F_PERMANENT && !(entry->flags & IFA_F_DADFAILED));
}

static void keep_addresses(struct pod_network *pod)
{
	size_t kept = 0;

	for (size_t i = 0; i < pod->has.addresses.count; i++) {
		struct network_link_address *entry = &pod->has.addresses.items[i];

		if (!is_chosen(pod, entry->link) || !lasts(entry))
			continue;
		if (!has_own_route(pod, entry))
			entry->address.prefix =
				(uint8_t)(network_address_size(entry->address.family) * 8);
		pod->has.addresses.items[kept++] = *entry;
	}
	pod->has.addresses.count = kept;
}

static void tell_interfaces(struct pod_network *pod)
{
	pod->interfaces = xnew(Grpc__Interfaces);
	grpc__interfaces__init(pod->interfaces);
	pod->interfaces->interfaces = xnew_array(Types__Interface *, pod->count + 1);
	for (size_t i = 0; i < pod->count; i++)
		pod->interfaces->interfaces[pod->interfaces->n_interfaces++] = network_interface(
			&pod->has, pod->links[i]);
}

static int tell_routes(struct pod_network *pod, struct error *err)
{
	pod->routes = xnew(Grpc__Routes);
	grpc__routes__init(pod->routes);
	pod->routes->routes = xnew_array(Types__Route *, pod->has.routes.count + 2);
	for (size_t i = 0; i < pod->has.routes.count; i++) {
		const struct network_route *route = &pod->has.routes.items[i];

		if (route->protocol == RTPROT_KERNEL || route->protocol == RTPROT_RA)
			continue;
		if (route->link == 0)
			return error_set(err, EOPNOTSUPP,
					 "a route of the pod has several ways, or none: a machine "
					 "cannot be given it");
		if (is_chosen(pod, route->link))
			pod->routes->routes[pod->routes->n_routes++] = network_route(&pod->has,
										     route);
	}
	return 0;
}

static void tell_neighbours(struct pod_network *pod)
{
	pod->neighbours = xnew(Grpc__ARPNeighbors);
	grpc__arpneighbors__init(pod->neighbours);
	pod->neighbours->arpneighbors = xnew_array(Types__ARPNeighbor *,
						   pod->has.neighbours.count + 2);
	for (size_t i = 0; i < pod->has.neighbours.count; i++) {
		const struct network_neighbour *neighbour = &pod->has.neighbours.items[i];

		if (is_chosen(pod, neighbour->link))
			pod->neighbours->arpneighbors[pod->neighbours->n_arpneighbors++] =
				network_neighbour(&pod->has, neighbour);
	}
}

/* ret_netns NULL: it is not wanted. */
static int open_netlink(const char *netns, int *ret_netns, int *ret_fd, struct error *err)
{
	_cleanup_close_ int fd = -EBADF;
	int r = netns_open(netns, &fd, err);

	if (r == 0)
		r = netns_netlink(fd, ret_fd, err);
	if (r == 0 && ret_netns)
		*ret_netns = steal_fd(&fd);
	return r;
}

/* old NULL: it is read for the first time. */
static int read_network(const char *netns, enum network_model model, const struct pod_network *old,
			size_t cards, struct pod_network **ret, struct error *err)
{
	_cleanup_(pod_network_free_cleanup) struct pod_network *pod = xnew(struct pod_network);
	_cleanup_close_ int fd = -EBADF;

	pod->netns = xstrdup(netns);
	pod->model = model;
	int r = open_netlink(netns, NULL, &fd, err);
	if (r == 0)
		r = network_read(fd, &pod->has, err);
	if (r == 0 && old)
		choose_again(pod, old, cards);
	else if (r == 0)
		r = choose(pod, err);
	if (r == 0)
		r = tell_routes(pod, err);
	if (r < 0)
		return r;
	keep_addresses(pod);
	tell_interfaces(pod);
	tell_neighbours(pod);
	if (model == NETWORK_TCFILTER)
		pod_loopback_tell(pod);
	*ret = steal_ptr(pod);
	return 0;
}

int pod_network_read(const char *netns, enum network_model model, struct pod_network **ret,
		     struct error *err)
{
	return read_network(netns, model, NULL, 0, ret, err);
}

/* ---------------------------------------------------------------- cards */

static bool is_free(const struct pod_network *pod, const bool *given, size_t card)
{
	for (size_t i = 0; i < pod->count; i++)
		if (given[i] && pod->cards[i] == card)
			return false;
	return true;
}

/* The one whose name it has already, so that no two swap theirs; else the first. */
static bool give_card(struct pod_network *pod, bool *given, size_t i, size_t cards, bool by_name)
{
	for (size_t card = pod->used; card < cards; card++) {
		const char *name = pod->guest_names[card];

		if (!is_free(pod, given, card) ||
		    (by_name && !str_equal(name, pod->links[i]->name)))
			continue;
		pod->cards[i] = card;
		replace_string(&pod->interfaces->interfaces[i]->device, name);
		return true;
	}
	return false;
}

/* How many are without one. */
static size_t give_cards(struct pod_network *pod, bool *given, size_t cards)
{
	size_t without = 0;

	for (size_t i = 0; i < pod->count; i++)
		given[i] = given[i] || give_card(pod, given, i, cards, true);
	for (size_t i = 0; i < pod->count; i++)
		given[i] = given[i] || give_card(pod, given, i, cards, false);
	for (size_t i = 0; i < pod->count; i++) {
		without += !given[i];
		if (given[i] && pod->model == NETWORK_MACVTAP && pod->cards[i] >= pod->used)
			pod->used = pod->cards[i] + 1;
	}
	return without;
}

int pod_network_assign(struct pod_network *pod, size_t waiting, struct error *err)
{
	bool given[NETWORK_CARDS_MAX] = {};

	for (size_t card = 0; card < NETWORK_CARDS_MAX; card++) {
		_cleanup_free_ char *name = card < waiting ? xasprintf(NETWORK_CARD_GUEST, card)
							   : xasprintf(NETWORK_CARD_PLUGGED, card);
		snprintf(pod->guest_names[card], IFNAMSIZ, "%s", name);
	}
	pod->used = pod->model == NETWORK_MACVTAP ? waiting : 0;
	if (give_cards(pod, given, NETWORK_CARDS_MAX) > 0)
		return error_set(err, EOPNOTSUPP,
				 "the pod has %zu interfaces: a machine has %d network cards at "
				 "most, and the %zu that wait in it cannot be macvtaps",
				 pod->count, NETWORK_CARDS_MAX, waiting);
	return 0;
}

size_t pod_network_cards(const struct pod_network *pod)
{
	size_t cards = 0;

	for (size_t i = 0; i < pod->count; i++)
		if (pod->cards[i] >= cards)
			cards = pod->cards[i] + 1;
	return cards;
}

/* ---------------------------------------------------------------- what changes later */

static bool is_same(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
	size_t len = protobuf_c_message_get_packed_size(a);
	_cleanup_free_ uint8_t *one = xcalloc(1, len + 1), *other = xcalloc(1, len + 1);

	if (protobuf_c_message_get_packed_size(b) != len)
		return false;
	protobuf_c_message_pack(a, one);
	protobuf_c_message_pack(b, other);
	return memcmp(one, other, len) == 0;
}

/* What others' ends of it do is not the guest's: whether there is a carrier. */
static bool is_same_interface(const Types__Interface *before, Types__Interface *now)
{
	uint32_t flags = now->raw_flags;

	now->raw_flags = before->raw_flags;
	bool same = is_same(&before->base, &now->base);
	now->raw_flags = flags;
	return same;
}

static void follow(struct pod_network *pod, const struct pod_network *old, bool *given)
{
	memcpy(pod->guest_names, old->guest_names, sizeof(pod->guest_names));
	pod->joined = old->joined;
	pod->used = old->used;
	for (size_t i = 0; i < pod->count; i++) {
		int before = position(old, pod->links[i]->index);
		Types__Interface *interface = pod->interfaces->interfaces[i];

		if (before < 0)
			continue;
		given[i] = true;
		pod->cards[i] = old->cards[before];
		pod->is_joined[i] = old->is_joined[before] &&
				    old->links[before]->mtu == pod->links[i]->mtu;
		replace_string(&interface->device, old->interfaces->interfaces[before]->device);
		pod->is_told[i] = old->is_told[before] &&
				  is_same_interface(old->interfaces->interfaces[before], interface);
		if (!pod->is_told[i])
			replace_string(&interface->device, pod->guest_names[pod->cards[i]]);
	}
}

int pod_network_read_again(const struct pod_network *old, size_t cards, struct pod_network **ret,
			   struct error *err)
{
	bool given[NETWORK_CARDS_MAX] = {};
	struct pod_network *pod;
	int r = read_network(old->netns, old->model, old, cards, &pod, err);

	if (r < 0)
		return r;
	follow(pod, old, given);
	(void)give_cards(pod, given, cards); /* choose_again() has left room */
	*ret = pod;
	return 0;
}

bool pod_network_has_changed(const struct pod_network *old, const struct pod_network *now)
{
	for (size_t i = 0; i < now->count; i++)
		if (!now->is_told[i])
			return true;
	return old->count != now->count || !str_equal(old->left_out, now->left_out) ||
	       !is_same(&old->routes->base, &now->routes->base) ||
	       !is_same(&old->neighbours->base, &now->neighbours->base);
}

int pod_network_watch(const struct pod_network *pod, int *ret_fd, struct error *err)
{
	static const int groups[] = { RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
				      RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE };
	_cleanup_close_ int fd = -EBADF;
	int r = open_netlink(pod->netns, NULL, &fd, err);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(groups); i++)
		if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i],
			       sizeof(groups[i])) < 0)
			r = error_set_errno(err, errno, "cannot watch the pod's network");
	if (r == 0)
		*ret_fd = steal_fd(&fd);
	return r;
}

/* ---------------------------------------------------------------- the taps */

int pod_network_make_tap(const struct pod_network *pod, const struct pod_network_machine *machine,
			 size_t card, int *ret_tap, struct error *err)
{
	_cleanup_close_ int netns = -EBADF;
	size_t i = 0;

	if (pod->model == NETWORK_TCFILTER)
		return netns_tap(machine->vmm_pidfd, card, ret_tap, err);
	while (i < pod->count && pod->cards[i] != card)
		i++;
	if (i == pod->count)
		return error_set(err, ENODEV, "no interface of the pod is for card %zu", card);
	int r = netns_open(pod->netns, &netns, err);
	return r < 0 ? r
		     : macvtap_make(netns, pod->links[i]->index, card, machine->vm_id, ret_tap,
				    err);
}

/* A join under way. */
struct join {
	int netns;    /* owned */
	int pod, vmm; /* netlink, in each namespace; owned */
};

static void join_done(struct join *join)
{
	close_fd(join->pod);
	close_fd(join->vmm);
	close_fd(join->netns);
}

static int move_tap(const struct join *join, const char *name, struct error *err)
{
	struct netlink_message message;

	(void)netlink_begin(&message, RTM_NEWLINK, 0, sizeof(struct ifinfomsg));
	netlink_put_text(&message, IFLA_IFNAME, name);
	netlink_put_u32(&message, IFLA_NET_NS_FD, (uint32_t)join->netns);
	int r = netlink_ask(join->vmm, &message);
	return r < 0 ? error_set_errno(err, r,
				       "cannot move the machine's %s into the pod's network", name)
		     : 0;
}

/* Its index in the pod's namespace; 0: it is not there. */
static int find_tap(const struct join *join, const char *name)
{
	struct ifreq request = {};

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	return ioctl(join->pod, SIOCGIFINDEX, &request) == 0 ? request.ifr_ifindex : 0;
}

/* Without an IPv6 address of its own, by which the namespace would talk to the guest; where there
 * is no IPv6 this fails, and is not needed. */
static void keep_silent(int fd, int index)
{
	const uint8_t none = IN6_ADDR_GEN_MODE_NONE;
	struct netlink_message message;
	struct ifinfomsg *link = netlink_begin(&message, RTM_NEWLINK, 0, sizeof(*link));

	link->ifi_index = index;
	struct nlattr *families = netlink_nest(&message, IFLA_AF_SPEC);
	struct nlattr *six = netlink_nest(&message, AF_INET6);
	netlink_put(&message, IFLA_INET6_ADDR_GEN_MODE, &none, sizeof(none));
	netlink_nest_end(&message, six);
	netlink_nest_end(&message, families);
	(void)netlink_ask(fd, &message);
}

static int raise_tap(const struct join *join, const char *name, unsigned flags, uint32_t mtu,
		     int *ret_index, struct error *err)
{
	int tap = find_tap(join, name);
	struct netlink_message message;
	struct ifinfomsg *link;

	if (tap == 0)
		return error_set(err, ENODEV, "the machine's %s is not in the pod's network", name);
	keep_silent(join->pod, tap);
	link = netlink_begin(&message, RTM_NEWLINK, 0, sizeof(*link));
	link->ifi_index = tap;
	link->ifi_flags = link->ifi_change = flags;
	netlink_put_u32(&message, IFLA_MTU, mtu < TAP_MTU_MAX ? mtu : TAP_MTU_MAX);
	int r = netlink_ask(join->pod, &message);
	if (r < 0)
		return error_set_errno(err, r, "cannot take %s up with an MTU of %u", name, mtu);
	*ret_index = tap;
	return 0;
}

/* Only the guest knows which groups it wants to hear of. */
static int join_macvtap(const struct join *join, struct pod_network *pod, size_t i,
			struct error *err)
{
	_cleanup_free_ char *name = xasprintf(NETWORK_CARD_TAP, pod->cards[i]);
	int index;
	int r = raise_tap(join, name, IFF_UP | IFF_ALLMULTI, pod->links[i]->mtu, &index, err);

	pod->is_joined[i] = r == 0;
	return r;
}

/* A machine whose shim was killed may have left its redirect: nobody is behind it. */
static int join_card(const struct join *join, struct pod_network *pod, size_t i, struct error *err)
{
	const struct network_link *link = pod->links[i];
	_cleanup_free_ char *name = xasprintf(NETWORK_CARD_TAP, pod->cards[i]);
	int tap = find_tap(join, name); /* of an interface that is gone */
	int r = 0;

	if (tap > 0)
		redirect_remove(join->pod, tap);
	else
		r = move_tap(join, name, err);
	if (r < 0)
		return r;
	pod->joined = true;
	redirect_remove(join->pod, link->index);
	r = raise_tap(join, name, IFF_UP, link->mtu, &tap, err);
	if (r == 0)
		r = redirect_add(join->pod, tap, link->index, name, err);
	if (r == 0)
		r = redirect_add(join->pod, link->index, tap, link->name, err);
	if (r == 0 && i == 0)
		pod_loopback_join(join->pod, tap, link);
	pod->is_joined[i] = r == 0;
	return r;
}

int pod_network_join(struct pod_network *pod, int vmm_pidfd, struct error *err)
{
	_cleanup_(join_done) struct join join = { -EBADF, -EBADF, -EBADF };
	int r = open_netlink(pod->netns, &join.netns, &join.pod, err);

	if (r == 0)
		r = netns_netlink(vmm_pidfd, &join.vmm, err);
	for (size_t i = 0; r == 0 && i < pod->count; i++)
		if (!pod->is_joined[i])
			r = pod->model == NETWORK_MACVTAP ? join_macvtap(&join, pod, i, err)
							  : join_card(&join, pod, i, err);
	return r;
}

void pod_network_leave(const struct pod_network *pod, const char *vm_id)
{
	bool has_macvtaps = pod->model == NETWORK_MACVTAP && vm_id;
	_cleanup_close_ int fd = -EBADF;

	if ((!pod->joined && !has_macvtaps) || open_netlink(pod->netns, NULL, &fd, NULL) < 0)
		return;
	if (has_macvtaps) {
		macvtap_remove(fd, vm_id);
		return;
	}
	for (size_t i = 0; i < pod->count; i++)
		redirect_remove(fd, pod->links[i]->index);
	pod_loopback_leave(fd);
}

void pod_network_clean(const char *netns, const char *vm_id)
{
	_cleanup_(network_done) struct network has = {};
	_cleanup_close_ int fd = -EBADF;

	if (open_netlink(netns, NULL, &fd, NULL) < 0)
		return;
	macvtap_remove(fd, vm_id);
	if (network_read_parts(fd, NETWORK_LINKS, &has, NULL) < 0)
		return;
	for (size_t i = 0; i < has.links.count; i++)
		if (is_tap(&has.links.items[i]))
			return;
	for (size_t i = 0; i < has.links.count; i++)
		if (is_wanted(&has.links.items[i]))
			redirect_remove(fd, has.links.items[i].index);
	pod_loopback_leave(fd);
}
