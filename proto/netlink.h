/* Netlink with the kernel (family NETLINK_ROUTE): a request is built in place and answered before
 * the call returns. Debian has libmnl as a shared library only, and both programs that need this
 * are linked statically.
 *
 *   struct netlink_message message;
 *   struct ifinfomsg *link = netlink_begin(&message, RTM_NEWLINK, 0, sizeof(*link));
 *   link->ifi_index = index;
 *   netlink_put_u32(&message, IFLA_MTU, 1450);
 *   r = netlink_ask(fd, &message);
 *
 * Source: netlink(7), rtnetlink(7), linux/netlink.h. Lengths in answers are checked: an attribute
 * never reaches beyond its message, nor a message beyond what was received.
 */
#pragma once

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

#define NETLINK_MESSAGE_MAX 1024

/* A request; one that does not fit ends the program, for what goes in is bounded by its makers. */
struct netlink_message {
	struct nlmsghdr header;
	char data[NETLINK_MESSAGE_MAX - sizeof(struct nlmsghdr)];
};

/* Begins a request and returns the header of its kind, size bytes of zero. flags: NLM_F_* beside
 * NLM_F_REQUEST. */
void *netlink_begin(struct netlink_message *message, uint16_t type, uint16_t flags, size_t size);
void netlink_put(struct netlink_message *message, uint16_t type, const void *data, size_t len);
void netlink_put_u32(struct netlink_message *message, uint16_t type, uint32_t value);
void netlink_put_text(struct netlink_message *message, uint16_t type, const char *text);
/* Attributes put in between are inside of this one. */
struct nlattr *netlink_nest(struct netlink_message *message, uint16_t type);
void netlink_nest_end(struct netlink_message *message, struct nlattr *nest);

/* A socket in the network namespace of the calling thread, where it stays; or a negative errno. */
_must_check_ int netlink_socket(void);

/* Sends a request and waits for the kernel's word: 0, or its negative errno. */
_must_check_ int netlink_ask(int fd, struct netlink_message *message);

/* Sends a request for a list and gives each answer to fn. -EINTR: the list changed meanwhile, and
 * may have holes. */
typedef void (*netlink_fn)(const struct nlmsghdr *message, void *userdata);
_must_check_ int netlink_dump(int fd, struct netlink_message *message, netlink_fn fn,
			      void *userdata);

/* An answer that comes in one or more datagrams. */
struct netlink_answer {
	uint32_t sequence; /* of the request */
	netlink_fn fn;     /* NULL: only the end is of interest */
	void *userdata;
	bool interrupted; /* the list changed while it was read */
};

/* Reads one datagram: 1 at the answer's end, 0 where more is to come, or the kernel's negative
 * errno; -EBADMSG: it is not made of whole messages. */
int netlink_read(struct netlink_answer *answer, const void *data, size_t len);

/* The attributes behind a message's header of size bytes, by type: table[t] is NULL where there is
 * none. False: the message is too short for its header. */
bool netlink_attributes(const struct nlmsghdr *message, size_t size, const struct nlattr **table,
			size_t count);
/* Those inside of an attribute (NULL: none). */
void netlink_nested(const struct nlattr *nest, const struct nlattr **table, size_t count);

/* The value of an attribute, NULL where it is not there or not of this size. */
const void *netlink_value(const struct nlattr *attribute, size_t size);
uint32_t netlink_u32(const struct nlattr *attribute); /* 0: not there */
/* Copies a text with its end; one that does not fit gives "". */
void netlink_text(const struct nlattr *attribute, char *text, size_t size);
