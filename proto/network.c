#include "proto/network.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <string.h>

#include "base/memory.h"
#include "base/strings.h"
#include "proto/netlink.h"

enum { READ_TRIES = 5 };

/* Room for one more; NULL past the bound. */
#define LIST_ADD(network, list)                                                                    \
	list_add((network), (void **)&(network)->list.items, &(network)->list.count,               \
		 sizeof((network)->list.items[0]))

static void *list_add(struct network *network, void **items, size_t *count, size_t size)
{
	if (*count == NETWORK_ENTRIES_MAX) {
		network->overflowed = true;
		return NULL;
	}
	if ((*count & (*count - 1)) == 0) /* a power of two, or none: doubled */
		*items = xrealloc_array(*items, *count > 0 ? *count * 2 : 1, size);
	return memset((char *)*items + (*count)++ * size, 0, size);
}

void network_done(struct network *network)
{
	free(network->links.items);
	free(network->addresses.items);
	free(network->routes.items);
	free(network->neighbours.items);
	*network = (struct network){};
}

size_t network_address_size(sa_family_t family)
{
	return family == AF_INET ? sizeof(struct in_addr) : sizeof(struct in6_addr);
}

/* ---------------------------------------------------------------- the kernel's messages */

static bool is_ip(unsigned family)
{
	return family == AF_INET || family == AF_INET6;
}

/* False where there is no address of the family. */
static bool take_address(const struct nlattr *attribute, unsigned family, unsigned prefix,
			 struct network_address *ret)
{
	size_t size = network_address_size((sa_family_t)family);
	const void *bytes = netlink_value(attribute, size);

	if (!bytes || prefix > size * 8)
		return false;
	*ret = (struct network_address){ .family = (sa_family_t)family, .prefix = (uint8_t)prefix };
	memcpy(ret->bytes, bytes, size);
	return true;
}

static bool take_host(const struct nlattr *attribute, unsigned family, struct network_address *ret)
{
	return take_address(attribute, family,
			    (unsigned)network_address_size((sa_family_t)family) * 8, ret);
}

static bool take_mac(const struct nlattr *attribute, uint8_t mac[static NETWORK_MAC_SIZE])
{
	const void *bytes = netlink_value(attribute, NETWORK_MAC_SIZE);

	if (bytes)
		memcpy(mac, bytes, NETWORK_MAC_SIZE);
	return bytes;
}

static void take_link(struct network *network, const struct nlmsghdr *message)
{
	const struct ifinfomsg *header = NLMSG_DATA(message);
	const struct nlattr *table[IFLA_MTU + 1];
	struct network_link *link;

	if (!netlink_attributes(message, sizeof(*header), table, ARRAY_SIZE(table)) ||
	    !(link = LIST_ADD(network, links)))
		return;
	link->index = header->ifi_index;
	link->flags = header->ifi_flags;
	link->type = header->ifi_type;
	link->mtu = netlink_u32(table[IFLA_MTU]);
	link->has_mac = take_mac(table[IFLA_ADDRESS], link->mac);
	netlink_text(table[IFLA_IFNAME], link->name, sizeof(link->name));
}

/* IPv4 has its own address as IFA_LOCAL, for the other may be a peer's. */
static void take_link_address(struct network *network, const struct nlmsghdr *message)
{
	const struct ifaddrmsg *header = NLMSG_DATA(message);
	const struct nlattr *table[IFA_FLAGS + 1];
	struct network_address address;
	struct network_link_address *entry;

	if (!netlink_attributes(message, sizeof(*header), table, ARRAY_SIZE(table)) ||
	    !is_ip(header->ifa_family) ||
	    !take_address(table[IFA_LOCAL] ? table[IFA_LOCAL] : table[IFA_ADDRESS],
			  header->ifa_family, header->ifa_prefixlen, &address) ||
	    !(entry = LIST_ADD(network, addresses)))
		return;
	entry->address = address;
	entry->link = (int)header->ifa_index;
	entry->flags = table[IFA_FLAGS] ? netlink_u32(table[IFA_FLAGS]) : header->ifa_flags;
}

/* A gateway of the other family comes with its family in front. */
static void take_via(const struct nlattr *attribute, struct network_address *ret)
{
	const struct rtvia *via;

	for (int i = 0; i < 2 && attribute; i++) {
		sa_family_t family = i == 0 ? AF_INET6 : AF_INET;
		size_t size = network_address_size(family);

		via = netlink_value(attribute, sizeof(*via) + size);
		if (!via || via->rtvia_family != family)
			continue;
		*ret = (struct network_address){ .family = family, .prefix = (uint8_t)(size * 8) };
		memcpy(ret->bytes, via->rtvia_addr, size);
	}
}

static void take_route(struct network *network, const struct nlmsghdr *message)
{
	const struct rtmsg *header = NLMSG_DATA(message);
	const struct nlattr *table[RTA_VIA + 1], *metrics[RTAX_MTU + 1];
	struct network_route route = {};
	struct network_route *entry;

	if (!netlink_attributes(message, sizeof(*header), table, ARRAY_SIZE(table)) ||
	    !is_ip(header->rtm_family) || header->rtm_table != RT_TABLE_MAIN ||
	    header->rtm_type != RTN_UNICAST || header->rtm_flags & RTM_F_CLONED)
		return;
	if (!table[RTA_DST] && header->rtm_dst_len == 0)
		route.to.family = header->rtm_family;
	else if (!take_address(table[RTA_DST], header->rtm_family, header->rtm_dst_len, &route.to))
		return;
	if (!take_host(table[RTA_GATEWAY], header->rtm_family, &route.gateway))
		take_via(table[RTA_VIA], &route.gateway);
	(void)take_host(table[RTA_PREFSRC], header->rtm_family, &route.source);
	netlink_nested(table[RTA_METRICS], metrics, ARRAY_SIZE(metrics));
	route.family = header->rtm_family;
	route.link = (int)netlink_u32(table[RTA_OIF]);
	route.metric = netlink_u32(table[RTA_PRIORITY]);
	route.mtu = netlink_u32(metrics[RTAX_MTU]);
	route.scope = header->rtm_scope;
	route.protocol = header->rtm_protocol;
	route.flags = header->rtm_flags;
	entry = LIST_ADD(network, routes);
	if (entry)
		*entry = route;
}

static void take_neighbour(struct network *network, const struct nlmsghdr *message)
{
	const struct ndmsg *header = NLMSG_DATA(message);
	const struct nlattr *table[NDA_LLADDR + 1];
	struct network_neighbour neighbour = {};
	struct network_neighbour *entry;

	if (!netlink_attributes(message, sizeof(*header), table, ARRAY_SIZE(table)) ||
	    !is_ip(header->ndm_family) || !(header->ndm_state & NUD_PERMANENT) ||
	    !take_host(table[NDA_DST], header->ndm_family, &neighbour.address) ||
	    !take_mac(table[NDA_LLADDR], neighbour.mac) || !(entry = LIST_ADD(network, neighbours)))
		return;
	neighbour.link = header->ndm_ifindex;
	neighbour.state = header->ndm_state;
	neighbour.flags = header->ndm_flags;
	*entry = neighbour;
}

void network_take(struct network *network, const struct nlmsghdr *message)
{
	if (message->nlmsg_type == RTM_NEWLINK)
		take_link(network, message);
	else if (message->nlmsg_type == RTM_NEWADDR)
		take_link_address(network, message);
	else if (message->nlmsg_type == RTM_NEWROUTE)
		take_route(network, message);
	else if (message->nlmsg_type == RTM_NEWNEIGH)
		take_neighbour(network, message);
}

static void on_message(const struct nlmsghdr *message, void *userdata)
{
	network_take(userdata, message);
}

/* All headers begin with the family, and what follows is zero in a request for a list. */
static int read_list(int fd, uint16_t type, size_t header_size, struct network *network)
{
	struct netlink_message message;

	(void)netlink_begin(&message, type, 0, header_size);
	return netlink_dump(fd, &message, on_message, network);
}

static int read_once(int fd, unsigned parts, struct network *network)
{
	static const struct {
		unsigned part;
		uint16_t type;
		size_t header_size;
	} lists[] = {
		{ NETWORK_LINKS, RTM_GETLINK, sizeof(struct ifinfomsg) },
		{ NETWORK_ADDRESSES, RTM_GETADDR, sizeof(struct ifaddrmsg) },
		{ NETWORK_ROUTES, RTM_GETROUTE, sizeof(struct rtmsg) },
		{ NETWORK_NEIGHBOURS, RTM_GETNEIGH, sizeof(struct ndmsg) },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(lists); i++)
		if (parts & lists[i].part)
			r = read_list(fd, lists[i].type, lists[i].header_size, network);
	return r == 0 && network->overflowed ? -E2BIG : r;
}

int network_read_parts(int fd, unsigned parts, struct network *ret, struct error *err)
{
	struct network network = {};
	int r = -EINTR;

	for (int i = 0; i < READ_TRIES && r == -EINTR; i++) {
		network_done(&network);
		r = read_once(fd, parts, &network);
	}
	if (r < 0) {
		network_done(&network);
		return error_set_errno(err, r, "cannot read what a network namespace has");
	}
	*ret = network;
	return 0;
}

int network_read(int fd, struct network *ret, struct error *err)
{
	return network_read_parts(
		fd, NETWORK_LINKS | NETWORK_ADDRESSES | NETWORK_ROUTES | NETWORK_NEIGHBOURS, ret,
		err);
}

const struct network_link *network_find(const struct network *network, const char *name)
{
	for (size_t i = 0; i < network->links.count; i++)
		if (str_equal(network->links.items[i].name, name))
			return &network->links.items[i];
	return NULL;
}

const struct network_link *network_find_index(const struct network *network, int index)
{
	for (size_t i = 0; i < network->links.count; i++)
		if (network->links.items[i].index == index)
			return &network->links.items[i];
	return NULL;
}

/* ---------------------------------------------------------------- messages of the agent */

void network_mac_format(const uint8_t mac[static NETWORK_MAC_SIZE], char ret_text[static 18])
{
	snprintf(ret_text, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
		 mac[4], mac[5]);
}

static char *mac_text(const uint8_t mac[static NETWORK_MAC_SIZE])
{
	char text[18];

	network_mac_format(mac, text);
	return xstrdup(text);
}

static char *address_text(const struct network_address *address)
{
	char text[INET6_ADDRSTRLEN] = "";

	if (address->family != AF_UNSPEC)
		inet_ntop(address->family, address->bytes, text, sizeof(text));
	return xstrdup(text);
}

static Types__IPFamily family_of(sa_family_t family)
{
	return family == AF_INET ? TYPES__IPFAMILY__v4 : TYPES__IPFAMILY__v6;
}

static char *link_name(const struct network *network, int index)
{
	const struct network_link *link = network_find_index(network, index);

	return xstrdup(link ? link->name : "");
}

Types__IPAddress *network_address(const struct network_address *address)
{
	Types__IPAddress *message = xnew(Types__IPAddress);

	types__ipaddress__init(message);
	message->family = family_of(address->family);
	message->address = address_text(address);
	message->mask = xasprintf("%u", address->prefix);
	return message;
}

Types__Interface *network_interface(const struct network *network, const struct network_link *link)
{
	Types__Interface *message = xnew(Types__Interface);

	types__interface__init(message);
	message->device = xstrdup(link->name);
	message->name = xstrdup(link->name);
	message->mtu = link->mtu;
	message->raw_flags = link->flags;
	if (link->has_mac)
		message->hwaddr = mac_text(link->mac);
	for (size_t i = 0; i < network->addresses.count; i++) {
		const struct network_link_address *entry = &network->addresses.items[i];

		if (entry->link != link->index)
			continue;
		message->ipaddresses = xrealloc_array(message->ipaddresses,
						      message->n_ipaddresses + 1,
						      sizeof(message->ipaddresses[0]));
		message->ipaddresses[message->n_ipaddresses++] = network_address(&entry->address);
	}
	return message;
}

Types__Route *network_route(const struct network *network, const struct network_route *route)
{
	Types__Route *message = xnew(Types__Route);
	_cleanup_free_ char *to = address_text(&route->to);

	types__route__init(message);
	message->dest = xasprintf("%s/%u", to, route->to.prefix);
	message->gateway = address_text(&route->gateway);
	message->source = address_text(&route->source);
	message->device = link_name(network, route->link);
	message->scope = route->scope;
	message->family = family_of(route->family);
	message->flags = route->flags & RTNH_F_ONLINK;
	message->mtu = route->mtu;
	message->metric = route->metric;
	return message;
}

Types__ARPNeighbor *network_neighbour(const struct network *network,
				      const struct network_neighbour *neighbour)
{
	Types__ARPNeighbor *message = xnew(Types__ARPNeighbor);

	types__arpneighbor__init(message);
	message->toipaddress = network_address(&neighbour->address);
	message->device = link_name(network, neighbour->link);
	message->lladdr = mac_text(neighbour->mac);
	message->state = neighbour->state;
	message->flags = neighbour->flags;
	return message;
}

/* ---------------------------------------------------------------- and back */

int network_address_parse(const char *text, struct network_address *ret, struct error *err)
{
	_cleanup_free_ char *address = xstrndup(text, INET6_ADDRSTRLEN + 4);
	char *slash = strchr(address, '/');
	struct network_address parsed = {};
	uint64_t prefix;

	if (slash)
		*slash++ = '\0';
	parsed.family = strchr(address, ':') ? AF_INET6 : AF_INET;
	prefix = network_address_size(parsed.family) * 8;
	if (inet_pton(parsed.family, address, parsed.bytes) != 1 ||
	    (slash && str_to_u64(slash, 0, prefix, &prefix) < 0))
		return error_set(err, EINVAL, "\"%.64s\" is no address", text);
	parsed.prefix = (uint8_t)prefix;
	*ret = parsed;
	return 0;
}

int network_mac_parse(const char *text, uint8_t ret_mac[static NETWORK_MAC_SIZE], struct error *err)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t mac[NETWORK_MAC_SIZE];

	for (int i = 0; i < NETWORK_MAC_SIZE; i++) {
		const char *high = text[0] ? strchr(digits, tolower((unsigned char)text[0])) : NULL;
		const char *low = high && text[1] ? strchr(digits, tolower((unsigned char)text[1]))
						  : NULL;
		if (!low || text[2] != (i < NETWORK_MAC_SIZE - 1 ? ':' : '\0'))
			return error_set(err, EINVAL, "the hardware address is not six bytes");
		mac[i] = (uint8_t)((high - digits) << 4 | (low - digits));
		text += 3;
	}
	if (mac[0] & 1)
		return error_set(err, EINVAL, "the hardware address is that of a group");
	memcpy(ret_mac, mac, sizeof(mac));
	return 0;
}
