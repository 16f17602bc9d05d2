#include "agent/interfaces.h"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/memory.h"
#include "base/strings.h"
#include "proto/netlink.h"
#include "proto/network.h"

enum {
	MTU_MAX = 65535,
	INDEX_MAX = 64, /* of interfaces looked at */
	BROADCAST_PREFIX_MAX = 30,
};

int interfaces_list(Grpc__Interfaces **ret, struct error *err)
{
	_cleanup_(network_done) struct network network = {};
	_cleanup_close_ int fd = netlink_socket();
	Grpc__Interfaces *list;

	if (fd < 0)
		return error_set_errno(err, fd, "no socket to list interfaces with");
	int r = network_read_parts(fd, NETWORK_LINKS | NETWORK_ADDRESSES, &network, err);
	if (r < 0)
		return r;
	list = xnew(Grpc__Interfaces);
	grpc__interfaces__init(list);
	list->interfaces = xnew_array(Types__Interface *, network.links.count + 1);
	for (size_t i = 0; i < network.links.count; i++)
		list->interfaces[list->n_interfaces++] = network_interface(&network,
									   &network.links.items[i]);
	*ret = list;
	return 0;
}

/* ---------------------------------------------------------------- find */

/* One interface, by requests that cost next to nothing in a guest that has never made one; a list
 * by netlink costs a fresh clone 30 ms under emulation. */
static bool has_mac(int sock, const char *name, const uint8_t mac[static NETWORK_MAC_SIZE])
{
	struct ifreq request = {};

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	return ioctl(sock, SIOCGIFHWADDR, &request) == 0 &&
	       memcmp(request.ifr_hwaddr.sa_data, mac, NETWORK_MAC_SIZE) == 0;
}

static int find_by_mac(int sock, const uint8_t mac[static NETWORK_MAC_SIZE])
{
	for (int index = 1; index <= INDEX_MAX; index++) {
		struct ifreq request = { .ifr_ifindex = index };

		if (ioctl(sock, SIOCGIFNAME, &request) == 0 && has_mac(sock, request.ifr_name, mac))
			return index;
	}
	return 0;
}

/* mac NULL: none is wanted. */
static int find_wanted(const Types__Interface *wanted, const uint8_t *mac, int *ret_index,
		       struct error *err)
{
	_cleanup_close_ int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = {};
	int index = mac ? find_by_mac(sock, mac) : 0;

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", wanted->device);
	if (index == 0 && strlen(wanted->device) < IFNAMSIZ &&
	    ioctl(sock, SIOCGIFINDEX, &request) == 0)
		index = request.ifr_ifindex;
	if (index == 0)
		return error_set(err, ENOENT, "there is no interface \"%.16s\"", wanted->device);
	*ret_index = index;
	return 0;
}

/* ---------------------------------------------------------------- change */

static int request_link(int fd, int index, const Types__Interface *wanted, const uint8_t *mac)
{
	bool whole = !str_empty(wanted->name);
	struct netlink_message message;
	struct ifinfomsg *link = netlink_begin(&message, RTM_NEWLINK, 0, sizeof(*link));

	link->ifi_index = index;
	if (whole) {
		link->ifi_change = IFF_UP | IFF_NOARP;
		link->ifi_flags = IFF_UP | (wanted->raw_flags & IFF_NOARP);
		netlink_put_text(&message, IFLA_IFNAME, wanted->name);
	}
	if (mac)
		netlink_put(&message, IFLA_ADDRESS, mac, NETWORK_MAC_SIZE);
	if (wanted->mtu > 0)
		netlink_put_u32(&message, IFLA_MTU, (uint32_t)wanted->mtu);
	return netlink_ask(fd, &message);
}

static int take_down(int fd, int index)
{
	struct netlink_message message;
	struct ifinfomsg *link = netlink_begin(&message, RTM_NEWLINK, 0, sizeof(*link));

	link->ifi_index = index;
	link->ifi_change = IFF_UP;
	return netlink_ask(fd, &message);
}

static int change_address(int fd, uint16_t type, uint16_t flags, int index,
			  const struct network_address *address)
{
	size_t size = network_address_size(address->family);
	struct netlink_message message;
	struct ifaddrmsg *header = netlink_begin(&message, type, flags, sizeof(*header));

	header->ifa_family = (uint8_t)address->family;
	header->ifa_prefixlen = address->prefix;
	header->ifa_index = (uint32_t)index;
	netlink_put(&message, IFA_LOCAL, address->bytes, size);
	netlink_put(&message, IFA_ADDRESS, address->bytes, size);
	if (address->family == AF_INET6) {
		netlink_put_u32(&message, IFA_FLAGS, IFA_F_NODAD);
	} else if (address->prefix <= BROADCAST_PREFIX_MAX) {
		uint8_t broadcast[4];

		for (unsigned i = 0; i < 4; i++) {
			unsigned kept = address->prefix > i * 8 ? address->prefix - i * 8 : 0;
			broadcast[i] = address->bytes[i] | (kept < 8 ? 0xff >> kept : 0);
		}
		netlink_put(&message, IFA_BROADCAST, broadcast, sizeof(broadcast));
	}
	return netlink_ask(fd, &message);
}

/* One that the kernel has made itself meanwhile (of the hardware address) is still looking whether
 * others have it, which one that is added is not to wait for. */
static int add_address(int fd, int index, const struct network_address *address)
{
	const uint16_t flags = NLM_F_CREATE | NLM_F_EXCL;
	int r = change_address(fd, RTM_NEWADDR, flags, index, address);

	if (r == -EEXIST)
		r = change_address(fd, RTM_DELADDR, 0, index, address);
	else
		return r;
	return r < 0 ? r : change_address(fd, RTM_NEWADDR, flags, index, address);
}

/* One that is down has no addresses: nobody leaves it with some (interfaces_clear()). */
static bool is_up(int index)
{
	_cleanup_close_ int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = { .ifr_ifindex = index };

	return ioctl(sock, SIOCGIFNAME, &request) == 0 &&
	       ioctl(sock, SIOCGIFFLAGS, &request) == 0 && request.ifr_flags & IFF_UP;
}

static int drop_addresses(int fd, int index, struct error *err)
{
	_cleanup_(network_done) struct network network = {};
	int r = network_read_parts(fd, NETWORK_ADDRESSES, &network, err);

	for (size_t i = 0; r == 0 && i < network.addresses.count; i++) {
		const struct network_link_address *entry = &network.addresses.items[i];

		if (entry->link != index)
			continue;
		r = change_address(fd, RTM_DELADDR, 0, index, &entry->address);
		r = r == -EADDRNOTAVAIL ? 0 : r; /* with another one */
		if (r < 0)
			return error_set_errno(err, r, "cannot remove an address");
	}
	return r;
}

static int rename_link(int fd, int index, const char *name)
{
	struct netlink_message message;
	struct ifinfomsg *link = netlink_begin(&message, RTM_NEWLINK, 0, sizeof(*link));

	link->ifi_index = index;
	netlink_put_text(&message, IFLA_IFNAME, name);
	return netlink_ask(fd, &message);
}

/* A card that waits, and is not used in this pod; or one whose interface is gone. */
static int free_name(int fd, const char *name, struct error *err)
{
	_cleanup_close_ int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = {};

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	if (ioctl(sock, SIOCGIFFLAGS, &request) < 0 || request.ifr_flags & IFF_LOOPBACK ||
	    ioctl(sock, SIOCGIFINDEX, &request) < 0)
		return error_set(err, EEXIST, "the name %s is not free", name);

	int index = request.ifr_ifindex;
	_cleanup_free_ char *other = xasprintf("idle%d", index);
	int r = drop_addresses(fd, index, err);
	if (r == 0 && ((r = take_down(fd, index)) < 0 || (r = rename_link(fd, index, other)) < 0))
		r = error_set_errno(err, r, "cannot take the name %s from another interface", name);
	return r;
}

static int set_link(int fd, int index, const Types__Interface *wanted, const uint8_t *mac,
		    struct error *err)
{
	const char *name = str_empty(wanted->name) ? wanted->device : wanted->name;
	int r = request_link(fd, index, wanted, mac);

	if (r == -EEXIST) {
		r = free_name(fd, name, err);
		if (r < 0)
			return r;
		r = request_link(fd, index, wanted, mac);
	}
	return r < 0 ? error_set_errno(err, r,
				       "cannot set name, hardware address and MTU (%lu) of "
				       "interface \"%s\"",
				       (unsigned long)wanted->mtu, name)
		     : 0;
}

static int add_addresses(int fd, int index, const Types__Interface *wanted, struct error *err)
{
	for (size_t i = 0; i < wanted->n_ipaddresses; i++) {
		const Types__IPAddress *entry = wanted->ipaddresses[i];
		_cleanup_free_ char *text = str_empty(entry->mask)
						    ? xstrdup(entry->address)
						    : xasprintf("%s/%s", entry->address,
								entry->mask);
		struct network_address address;
		int r = network_address_parse(text, &address, err);

		if (r < 0)
			return r;
		r = add_address(fd, index, &address);
		if (r < 0)
			return error_set_errno(err, r, "cannot give %s the address %s",
					       wanted->name, text);
	}
	return 0;
}

int interface_update(const Types__Interface *wanted, struct error *err)
{
	_cleanup_close_ int fd = netlink_socket();
	bool addressed = !str_empty(wanted->hwaddr), whole = !str_empty(wanted->name);
	uint8_t mac[NETWORK_MAC_SIZE];
	int index = 0;

	if (fd < 0)
		return error_set_errno(err, fd, "no socket to change interfaces with");
	if (wanted->mtu > MTU_MAX)
		return error_set(err, EINVAL, "an MTU of more than %d bytes", MTU_MAX);
	if (strlen(wanted->name) >= IFNAMSIZ)
		return error_set(err, EINVAL, "\"%.64s\" is too long for an interface",
				 wanted->name);
	if (!whole && wanted->n_ipaddresses > 0)
		return error_set(err, EINVAL, "addresses for an interface without a name");
	int r = addressed ? network_mac_parse(wanted->hwaddr, mac, err) : 0;
	if (r == 0)
		r = find_wanted(wanted, addressed ? mac : NULL, &index, err);
	if (r == 0 && whole && is_up(index)) {
		r = drop_addresses(fd, index, err);
		if (r == 0 && take_down(fd, index) < 0) /* else it keeps its name */
			r = error_set(err, EIO, "cannot take %s down", wanted->name);
	}
	if (r == 0)
		r = set_link(fd, index, wanted, addressed ? mac : NULL, err);
	return r < 0 || !whole ? r : add_addresses(fd, index, wanted, err);
}

/* By a list: it waits for an interface that is just being made. */
int interface_name(const char *hwaddr, const char *name, struct error *err)
{
	_cleanup_(network_done) struct network network = {};
	_cleanup_close_ int fd = netlink_socket();
	uint8_t mac[NETWORK_MAC_SIZE];
	int r = network_mac_parse(hwaddr, mac, err);

	if (fd < 0)
		return error_set_errno(err, fd, "no socket to name interfaces with");
	if (r == 0 && (str_empty(name) || strlen(name) >= IFNAMSIZ))
		r = error_set(err, EINVAL, "\"%.64s\" is no name of an interface", name);
	if (r == 0)
		r = network_read_parts(fd, NETWORK_LINKS, &network, err);
	for (size_t i = 0; r == 0 && i < network.links.count; i++) {
		const struct network_link *link = &network.links.items[i];

		if (!link->has_mac || memcmp(link->mac, mac, sizeof(mac)) != 0)
			continue;
		r = str_equal(link->name, name) ? 0 : rename_link(fd, link->index, name);
		return r < 0 ? error_set_errno(err, r, "cannot name %s %s", link->name, name) : 0;
	}
	return r < 0 ? r : error_set(err, ENOENT, "there is no interface %.32s", hwaddr);
}

int interfaces_clear(struct error *err)
{
	_cleanup_(network_done) struct network network = {};
	_cleanup_close_ int fd = netlink_socket();

	if (fd < 0)
		return error_set_errno(err, fd, "no socket to clear interfaces with");
	int r = network_read_parts(fd, NETWORK_LINKS, &network, err);
	for (size_t i = 0; r == 0 && i < network.links.count; i++) {
		const struct network_link *link = &network.links.items[i];

		if (link->flags & IFF_LOOPBACK || !(link->flags & IFF_UP))
			continue;
		r = drop_addresses(fd, link->index, err);
		if (r == 0 && (r = take_down(fd, link->index)) < 0)
			r = error_set_errno(err, r, "cannot take %s down", link->name);
	}
	return r;
}
