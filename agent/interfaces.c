#include "agent/interfaces.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/memory.h"
#include "base/strings.h"

enum { MAC_SIZE = 6 };

DEFINE_CLEANUP(struct ifaddrs *, freeifaddrs)

static Types__Interface *find(const Grpc__Interfaces *list, const char *name)
{
	for (size_t i = 0; i < list->n_interfaces; i++)
		if (str_equal(list->interfaces[i]->name, name))
			return list->interfaces[i];
	return NULL;
}

static uint64_t mtu_of(int sock, const char *name)
{
	struct ifreq request = {};

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	return sock >= 0 && ioctl(sock, SIOCGIFMTU, &request) == 0 ? (uint64_t)request.ifr_mtu : 0;
}

static Types__Interface *add(Grpc__Interfaces *list, const struct ifaddrs *entry, int sock)
{
	Types__Interface *interface = xnew(Types__Interface);

	types__interface__init(interface);
	interface->name = xstrdup(entry->ifa_name);
	interface->device = xstrdup(entry->ifa_name);
	interface->mtu = mtu_of(sock, entry->ifa_name);
	interface->raw_flags = entry->ifa_flags;
	list->interfaces = xrealloc_array(list->interfaces, list->n_interfaces + 1,
					  sizeof(list->interfaces[0]));
	list->interfaces[list->n_interfaces++] = interface;
	return interface;
}

static void set_mac(Types__Interface *interface, const struct sockaddr_ll *link)
{
	const uint8_t *a = link->sll_addr;

	if (link->sll_halen == MAC_SIZE && interface->hwaddr == protobuf_c_empty_string)
		interface->hwaddr = xasprintf("%02x:%02x:%02x:%02x:%02x:%02x", a[0], a[1], a[2],
					      a[3], a[4], a[5]);
}

static unsigned prefix_length(const uint8_t *mask, size_t len)
{
	unsigned bits = 0;

	for (size_t i = 0; i < len; i++)
		bits += (unsigned)__builtin_popcount(mask[i]);
	return bits;
}

static void add_address(Types__Interface *interface, const struct ifaddrs *entry)
{
	bool v4 = entry->ifa_addr->sa_family == AF_INET;
	size_t offset = v4 ? offsetof(struct sockaddr_in, sin_addr)
			   : offsetof(struct sockaddr_in6, sin6_addr);
	size_t len = v4 ? sizeof(struct in_addr) : sizeof(struct in6_addr);
	const uint8_t *mask = (const uint8_t *)entry->ifa_netmask;
	char text[INET6_ADDRSTRLEN];
	Types__IPAddress *address = xnew(Types__IPAddress);

	inet_ntop(entry->ifa_addr->sa_family, (const uint8_t *)entry->ifa_addr + offset, text,
		  sizeof(text));
	types__ipaddress__init(address);
	address->family = v4 ? TYPES__IPFAMILY__v4 : TYPES__IPFAMILY__v6;
	address->address = xstrdup(text);
	address->mask = xasprintf("%u",
				  mask ? prefix_length(mask + offset, len) : (unsigned)len * 8);
	interface->ipaddresses = xrealloc_array(interface->ipaddresses,
						interface->n_ipaddresses + 1,
						sizeof(interface->ipaddresses[0]));
	interface->ipaddresses[interface->n_ipaddresses++] = address;
}

static void add_entry(Grpc__Interfaces *list, const struct ifaddrs *entry, int sock)
{
	Types__Interface *interface = find(list, entry->ifa_name);

	if (!interface)
		interface = add(list, entry, sock);
	if (!entry->ifa_addr)
		return;
	if (entry->ifa_addr->sa_family == AF_PACKET)
		set_mac(interface, (const struct sockaddr_ll *)entry->ifa_addr);
	else if (entry->ifa_addr->sa_family == AF_INET || entry->ifa_addr->sa_family == AF_INET6)
		add_address(interface, entry);
}

int interfaces_list(Grpc__Interfaces **ret, struct error *err)
{
	_cleanup_(freeifaddrs_cleanup) struct ifaddrs *entries = NULL;
	_cleanup_close_ int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	Grpc__Interfaces *list;

	if (getifaddrs(&entries) < 0)
		return error_set_errno(err, errno, "cannot list the network interfaces");
	list = xnew(Grpc__Interfaces);
	grpc__interfaces__init(list);
	for (const struct ifaddrs *entry = entries; entry; entry = entry->ifa_next)
		add_entry(list, entry, sock);
	*ret = list;
	return 0;
}
