#include "shim/pod_loopback.h"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <string.h>

#include "base/log.h"
#include "factory/guest/redirect.h"
#include "proto/netlink.h"
#include "proto/pod_loopback.h"

enum { LO = 1 /* in each namespace */, NET_BITS = 8, ALL_BITS = 32, ADDRESS_SIZE = 4 };

static const uint8_t loopback[ADDRESS_SIZE] = { 127, 0, 0, 1 };
static const uint8_t loopback_net[ADDRESS_SIZE] = { 127, 0, 0, 0 };
static const uint8_t peer[ADDRESS_SIZE] = POD_LOOPBACK_PEER;
static const uint8_t peer_mac[NETWORK_MAC_SIZE] = POD_LOOPBACK_MAC;

/* ---------------------------------------------------------------- in the guest */

void pod_loopback_tell(struct pod_network *pod)
{
	struct network_route route = {
		.family = AF_INET,
		.to = { .family = AF_INET, .prefix = ALL_BITS },
		.scope = RT_SCOPE_LINK,
		.protocol = RTPROT_BOOT,
	};
	struct network_neighbour neighbour = {
		.address = { .family = AF_INET, .prefix = ALL_BITS },
		.state = NUD_PERMANENT,
	};

	if (pod->count == 0)
		return;
	route.link = neighbour.link = pod->links[0]->index;
	memcpy(route.to.bytes, peer, sizeof(peer));
	memcpy(neighbour.address.bytes, peer, sizeof(peer));
	memcpy(neighbour.mac, peer_mac, sizeof(peer_mac));
	pod->routes->routes[pod->routes->n_routes++] = network_route(&pod->has, &route);
	pod->neighbours->arpneighbors[pod->neighbours->n_arpneighbors++] = network_neighbour(
		&pod->has, &neighbour);
}

/* ---------------------------------------------------------------- in the namespace */

struct way {
	const uint8_t *to;
	uint8_t bits;
	uint8_t table, type, scope;
	int link;
	const uint8_t *source; /* NULL: none */
};

static const struct way kernels_own[] = {
	{ loopback_net, NET_BITS, RT_TABLE_LOCAL, RTN_LOCAL, RT_SCOPE_HOST, LO, loopback },
	{ loopback, ALL_BITS, RT_TABLE_LOCAL, RTN_LOCAL, RT_SCOPE_HOST, LO, loopback },
};

/* The rest of the loopback's addresses. */
static const struct way rest = { loopback_net,  NET_BITS, RT_TABLE_MAIN, RTN_LOCAL,
				 RT_SCOPE_HOST, LO,       NULL };

static int change_way(int fd, uint16_t type, const struct way *way)
{
	struct netlink_message message;
	uint16_t flags = type == RTM_NEWROUTE ? NLM_F_CREATE | NLM_F_REPLACE : 0;
	struct rtmsg *header = netlink_begin(&message, type, flags, sizeof(*header));

	header->rtm_family = AF_INET;
	header->rtm_dst_len = way->bits;
	header->rtm_table = way->table;
	header->rtm_type = way->type;
	header->rtm_scope = way->scope;
	header->rtm_protocol = type == RTM_NEWROUTE ? RTPROT_KERNEL : RTPROT_UNSPEC;
	netlink_put(&message, RTA_DST, way->to, ADDRESS_SIZE);
	netlink_put_u32(&message, RTA_OIF, (uint32_t)way->link);
	if (way->source)
		netlink_put(&message, RTA_PREFSRC, way->source, ADDRESS_SIZE);
	return netlink_ask(fd, &message);
}

static int add_peer(int fd, int tap)
{
	struct netlink_message message;
	struct ifaddrmsg *header = netlink_begin(&message, RTM_NEWADDR,
						 NLM_F_CREATE | NLM_F_REPLACE, sizeof(*header));

	header->ifa_family = AF_INET;
	header->ifa_prefixlen = ALL_BITS;
	header->ifa_scope = RT_SCOPE_LINK;
	header->ifa_index = (uint32_t)tap;
	netlink_put(&message, IFA_LOCAL, peer, sizeof(peer));
	netlink_put(&message, IFA_ADDRESS, peer, sizeof(peer));
	return netlink_ask(fd, &message);
}

static int name_tap(int fd, int tap)
{
	struct netlink_message message;
	struct ifinfomsg *link = netlink_begin(&message, RTM_NEWLINK, 0, sizeof(*link));

	link->ifi_index = tap;
	netlink_put(&message, IFLA_ADDRESS, peer_mac, sizeof(peer_mac));
	return netlink_ask(fd, &message);
}

static int add_guest(int fd, int tap, const uint8_t *mac)
{
	struct netlink_message message;
	struct ndmsg *header = netlink_begin(&message, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE,
					     sizeof(*header));

	header->ndm_family = AF_INET;
	header->ndm_ifindex = tap;
	header->ndm_state = NUD_PERMANENT;
	netlink_put(&message, NDA_DST, loopback, sizeof(loopback));
	netlink_put(&message, NDA_LLADDR, mac, NETWORK_MAC_SIZE);
	return netlink_ask(fd, &message);
}

/* A route of the kernel's may be gone already: by another machine, or because lo is down. */
static int lead_to_tap(int fd, int tap)
{
	const struct way way = {
		loopback, ALL_BITS, RT_TABLE_MAIN, RTN_UNICAST, RT_SCOPE_LINK, tap, peer,
	};
	int r = change_way(fd, RTM_NEWROUTE, &rest);

	if (r == -ENETDOWN) /* lo is, and has no routes */
		r = 0;
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(kernels_own); i++) {
		r = change_way(fd, RTM_DELROUTE, &kernels_own[i]);
		if (r == -ESRCH)
			r = 0;
	}
	return r == 0 ? change_way(fd, RTM_NEWROUTE, &way) : r;
}

void pod_loopback_join(int fd, int tap, const struct network_link *link)
{
	int r = redirect_spare(fd, link->index, loopback_net, NET_BITS);

	if (r == 0)
		r = redirect_spare(fd, tap, peer, ALL_BITS);
	if (r == 0)
		r = name_tap(fd, tap);
	if (r == 0)
		r = interface_open_loopback(fd, tap);
	if (r == 0)
		r = add_peer(fd, tap);
	if (r == 0)
		r = add_guest(fd, tap, link->mac);
	if (r == 0)
		r = lead_to_tap(fd, tap);
	if (r < 0)
		log_warning(NULL,
			    "the pod's 127.0.0.1 does not lead to the machine, so ports cannot be "
			    "forwarded: %s",
			    strerror(-r));
}

void pod_loopback_leave(int fd)
{
	for (size_t i = 0; i < ARRAY_SIZE(kernels_own); i++)
		(void)change_way(fd, RTM_NEWROUTE, &kernels_own[i]);
	(void)change_way(fd, RTM_DELROUTE, &rest);
}
