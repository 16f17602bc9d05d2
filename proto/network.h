/* What a network namespace has (links, addresses, routes, permanent neighbours), read over netlink,
 * and the same as messages of the agent's protocol. The shim reads the pod's namespace so, the
 * agent its guest's.
 */
#pragma once

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/error.h"
#include "proto/agent.pb-c.h"

#define NETWORK_MAC_SIZE     6
#define NETWORK_ADDRESS_SIZE 16 /* of IPv6; IPv4 has the first four bytes */
#define NETWORK_ENTRIES_MAX  4096

struct network_link {
	int index;
	char name[IFNAMSIZ];
	unsigned flags; /* IFF_* */
	unsigned type;  /* ARPHRD_* */
	uint32_t mtu;
	bool has_mac;
	uint8_t mac[NETWORK_MAC_SIZE];
};

/* An address or a prefix; family AF_UNSPEC: none. */
struct network_address {
	sa_family_t family; /* AF_INET, AF_INET6 */
	uint8_t prefix;     /* bits */
	uint8_t bytes[NETWORK_ADDRESS_SIZE];
};

struct network_link_address {
	struct network_address address;
	int link;       /* index */
	uint32_t flags; /* IFA_F_* */
};

/* A route of the main table to one place (RTN_UNICAST). */
struct network_route {
	sa_family_t family;
	struct network_address to; /* prefix 0: everything */
	struct network_address gateway, source;
	int link; /* index; 0: several, or none */
	uint32_t metric, mtu;
	uint8_t scope, protocol; /* RT_SCOPE_*, RTPROT_* */
	unsigned flags;          /* RTNH_F_*, RTM_F_* */
};

struct network_neighbour {
	struct network_address address;
	int link;
	uint8_t mac[NETWORK_MAC_SIZE];
	uint16_t state; /* NUD_* */
	uint8_t flags;  /* NTF_* */
};

/* One kind of them. */
#define NETWORK_LIST(type)                                                                         \
	struct {                                                                                   \
		struct type *items;                                                                \
		size_t count;                                                                      \
	}

struct network {
	NETWORK_LIST(network_link) links;
	NETWORK_LIST(network_link_address) addresses;
	NETWORK_LIST(network_route) routes;
	NETWORK_LIST(network_neighbour) neighbours; /* those that last, with a hardware address */
	bool overflowed;                            /* while it is read: more than bounds allow */
};

/* fd: netlink_socket(), in the namespace. -E2BIG: more than NETWORK_ENTRIES_MAX of a kind. */
_must_check_ int network_read(int fd, struct network *ret, struct error *err);
void network_done(struct network *network);

/* The parts of it that one call needs. */
enum { NETWORK_LINKS = 1, NETWORK_ADDRESSES = 2, NETWORK_ROUTES = 4, NETWORK_NEIGHBOURS = 8 };
_must_check_ int network_read_parts(int fd, unsigned parts, struct network *ret, struct error *err);

/* Adds what one of the kernel's messages says; of other kinds, and what is broken, is left out. */
struct nlmsghdr;
void network_take(struct network *network, const struct nlmsghdr *message);

/* NULL: there is none. */
const struct network_link *network_find(const struct network *network, const char *name);
const struct network_link *network_find_index(const struct network *network, int index);

/* As messages, to be freed with protobuf_c_message_free_unpacked(). Of an interface: with all its
 * addresses. */
Types__Interface *network_interface(const struct network *network, const struct network_link *link);
Types__Route *network_route(const struct network *network, const struct network_route *route);
Types__ARPNeighbor *network_neighbour(const struct network *network,
				      const struct network_neighbour *neighbour);
Types__IPAddress *network_address(const struct network_address *address);
void network_mac_format(const uint8_t mac[static NETWORK_MAC_SIZE], char ret_text[static 18]);

/* The other way. An address with or without "/PREFIX" (without: all its bits); -EINVAL. */
_must_check_ int network_address_parse(const char *text, struct network_address *ret,
				       struct error *err);
/* Of one card: not of a group. */
_must_check_ int network_mac_parse(const char *text, uint8_t ret_mac[static NETWORK_MAC_SIZE],
				   struct error *err);
size_t network_address_size(sa_family_t family); /* bytes */
