#include "agent/routes.h"

#include <linux/neighbour.h>
#include <net/if.h>

#include "base/memory.h"
#include "base/strings.h"
#include "proto/netlink.h"
#include "proto/network.h"
#include "proto/pod_loopback.h"

static int make_list(int fd, Grpc__Routes **ret, struct error *err)
{
	_cleanup_(network_done) struct network network = {};
	Grpc__Routes *list;
	int r = network_read_parts(fd, NETWORK_LINKS | NETWORK_ROUTES, &network, err);

	if (r < 0)
		return r;
	list = xnew(Grpc__Routes);
	grpc__routes__init(list);
	list->routes = xnew_array(Types__Route *, network.routes.count + 1);
	for (size_t i = 0; i < network.routes.count; i++)
		list->routes[list->n_routes++] = network_route(&network, &network.routes.items[i]);
	*ret = list;
	return 0;
}

int routes_list(Grpc__Routes **ret, struct error *err)
{
	_cleanup_close_ int fd = netlink_socket();

	if (fd < 0)
		return error_set_errno(err, fd, "no socket to list routes with");
	return make_list(fd, ret, err);
}

static int find_device(const char *device, int *ret_index, struct error *err)
{
	unsigned index = if_nametoindex(device);

	if (index == 0)
		return error_set(err, ENOENT, "there is no interface \"%.16s\"", device);
	*ret_index = (int)index;
	return 0;
}

static int change_route(int fd, uint16_t type, uint16_t flags, const struct network_route *route)
{
	struct netlink_message message;
	struct rtmsg *header = netlink_begin(&message, type, flags, sizeof(*header));
	size_t size = network_address_size(route->family);

	header->rtm_family = (uint8_t)route->family;
	header->rtm_dst_len = route->to.prefix;
	header->rtm_table = RT_TABLE_MAIN;
	header->rtm_protocol = route->protocol;
	header->rtm_scope = route->scope;
	header->rtm_type = RTN_UNICAST;
	header->rtm_flags = route->flags;
	if (route->to.prefix > 0)
		netlink_put(&message, RTA_DST, route->to.bytes, size);
	if (route->source.family != AF_UNSPEC)
		netlink_put(&message, RTA_PREFSRC, route->source.bytes, size);
	if (route->gateway.family == route->family) {
		netlink_put(&message, RTA_GATEWAY, route->gateway.bytes, size);
	} else if (route->gateway.family != AF_UNSPEC) {
		struct {
			__kernel_sa_family_t family;
			uint8_t bytes[NETWORK_ADDRESS_SIZE];
		} via = { .family = route->gateway.family };
		size_t via_size = network_address_size(route->gateway.family);

		memcpy(via.bytes, route->gateway.bytes, via_size);
		netlink_put(&message, RTA_VIA, &via, sizeof(via.family) + via_size);
	}
	if (route->link > 0)
		netlink_put_u32(&message, RTA_OIF, (uint32_t)route->link);
	if (route->metric > 0)
		netlink_put_u32(&message, RTA_PRIORITY, route->metric);
	if (route->mtu > 0) {
		struct nlattr *metrics = netlink_nest(&message, RTA_METRICS);

		netlink_put_u32(&message, RTAX_MTU, route->mtu);
		netlink_nest_end(&message, metrics);
	}
	return netlink_ask(fd, &message);
}

/* The kernel's own go with their addresses. */
static int drop_routes(int fd, struct error *err)
{
	_cleanup_(network_done) struct network network = {};
	int r = network_read_parts(fd, NETWORK_ROUTES, &network, err);

	for (size_t i = 0; r == 0 && i < network.routes.count; i++) {
		const struct network_route *route = &network.routes.items[i];

		if (route->protocol == RTPROT_KERNEL)
			continue;
		r = change_route(fd, RTM_DELROUTE, 0, route);
		if (r == -ESRCH) /* with another one */
			r = 0;
		else if (r < 0)
			r = error_set_errno(err, r, "cannot remove a route");
	}
	return r;
}

static int parse_optional(const char *text, struct network_address *ret, struct error *err)
{
	return str_empty(text) ? 0 : network_address_parse(text, ret, err);
}

static int parse_route(const Types__Route *wanted, struct network_route *ret, struct error *err)
{
	struct network_route route = {
		.family = wanted->family == TYPES__IPFAMILY__v6 ? AF_INET6 : AF_INET,
		.scope = (uint8_t)wanted->scope,
		.protocol = RTPROT_BOOT,
		.flags = wanted->flags & RTNH_F_ONLINK,
		.mtu = wanted->mtu,
		.metric = wanted->metric,
	};

	int r = find_device(wanted->device, &route.link, err);
	if (r == 0)
		r = parse_optional(wanted->dest, &route.to, err);
	if (r == 0)
		r = parse_optional(wanted->gateway, &route.gateway, err);
	if (r == 0)
		r = parse_optional(wanted->source, &route.source, err);
	if (r == 0 && ((route.to.family != AF_UNSPEC && route.to.family != route.family) ||
		       (route.source.family != AF_UNSPEC && route.source.family != route.family)))
		r = error_set(err, EINVAL, "destination and source are not of one family");
	if (r == 0)
		*ret = route;
	return r;
}

/* A prefix has one route in IPv4 (of a metric); in IPv6 there may be several. */
static int add_route(int fd, const Types__Route *wanted, struct error *err)
{
	struct network_route route;
	int r = parse_route(wanted, &route, err);

	if (r == 0) {
		r = change_route(fd, RTM_NEWROUTE,
				 NLM_F_CREATE |
					 (route.family == AF_INET ? NLM_F_REPLACE : NLM_F_EXCL),
				 &route);
		if (r < 0 && r != -EEXIST)
			error_set_errno(err, r, "the kernel refuses it");
		else
			r = 0;
	}
	return r < 0 ? error_wrap(err, "route to \"%.64s\" via \"%.64s\" by %.16s", wanted->dest,
				  wanted->gateway, wanted->device)
		     : 0;
}

static int add_routes(int fd, const Grpc__Routes *routes, bool with_gateway, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < routes->n_routes; i++)
		if (with_gateway != str_empty(routes->routes[i]->gateway))
			r = add_route(fd, routes->routes[i], err);
	return r;
}

int routes_update(const Grpc__Routes *routes, struct error *err)
{
	_cleanup_close_ int fd = netlink_socket();

	if (fd < 0)
		return error_set_errno(err, fd, "no socket to change routes with");
	int r = drop_routes(fd, err);
	if (r == 0)
		r = add_routes(fd, routes, false, err);
	return r < 0 ? r : add_routes(fd, routes, true, err);
}

/* ---------------------------------------------------------------- neighbours */

static bool is_pod_namespace(const struct network_address *address)
{
	static const uint8_t peer[] = POD_LOOPBACK_PEER;

	return address->family == AF_INET && memcmp(address->bytes, peer, sizeof(peer)) == 0;
}

static int add_neighbour(int fd, const Types__ARPNeighbor *wanted, struct error *err)
{
	struct network_address address;
	uint8_t mac[NETWORK_MAC_SIZE];
	struct netlink_message message;
	struct ndmsg *header;
	int index = 0;

	if (!wanted->toipaddress)
		return error_set(err, EINVAL, "a neighbour without an address");
	int r = network_address_parse(wanted->toipaddress->address, &address, err);
	if (r == 0)
		r = find_device(wanted->device, &index, err);
	if (r == 0 && !str_empty(wanted->lladdr))
		r = network_mac_parse(wanted->lladdr, mac, err);
	if (r < 0)
		return r;
	header = netlink_begin(&message, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE,
			       sizeof(*header));
	header->ndm_family = (uint8_t)address.family;
	header->ndm_ifindex = index;
	header->ndm_state = wanted->state ? (uint16_t)wanted->state : NUD_PERMANENT;
	header->ndm_flags = (uint8_t)wanted->flags;
	netlink_put(&message, NDA_DST, address.bytes, network_address_size(address.family));
	if (!str_empty(wanted->lladdr))
		netlink_put(&message, NDA_LLADDR, mac, sizeof(mac));
	r = netlink_ask(fd, &message);
	if (r == 0 && is_pod_namespace(&address))
		r = interface_open_loopback(fd, index);
	return r < 0 ? error_set_errno(err, r, "cannot add the neighbour %s",
				       wanted->toipaddress->address)
		     : 0;
}

int neighbours_add(const Grpc__ARPNeighbors *neighbours, struct error *err)
{
	_cleanup_close_ int fd = netlink_socket();
	int r = 0;

	if (fd < 0)
		return error_set_errno(err, fd, "no socket to add neighbours with");
	for (size_t i = 0; r == 0 && i < neighbours->n_arpneighbors; i++)
		r = add_neighbour(fd, neighbours->arpneighbors[i], err);
	return r;
}
