#include "factory/guest/redirect.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/tc_act/tc_mirred.h>
#include <string.h>

#include "proto/netlink.h"

/* Of our filters, by which they are known: nobody else would choose them. The lower is asked first.
 */
#define PRIORITY       0x6b69u
#define PRIORITY_SPARE 0x6b68u

enum { IP_DESTINATION = 16 /* in the header */ };

static struct tcmsg *begin(struct netlink_message *message, uint16_t type, uint16_t flags,
			   int index)
{
	struct tcmsg *header = netlink_begin(message, type, flags, sizeof(*header));

	header->tcm_family = AF_UNSPEC;
	header->tcm_ifindex = index;
	return header;
}

static int change_queue(int fd, uint16_t type, uint16_t flags, int index)
{
	struct netlink_message message;
	struct tcmsg *header = begin(&message, type, flags, index);

	header->tcm_parent = TC_H_INGRESS;
	header->tcm_handle = TC_H_MAKE(TC_H_INGRESS, 0);
	netlink_put_text(&message, TCA_KIND, "ingress");
	return netlink_ask(fd, &message);
}

static void name_filter(struct tcmsg *header, unsigned priority, uint16_t protocol)
{
	header->tcm_parent = TC_H_MAKE(TC_H_INGRESS, 0);
	header->tcm_info = TC_H_MAKE(priority << 16, htons(protocol));
}

static void put_action(struct netlink_message *message, int to)
{
	const struct tc_mirred redirect = {
		.action = TC_ACT_STOLEN,
		.eaction = TCA_EGRESS_REDIR,
		.ifindex = (uint32_t)to,
	};
	struct nlattr *actions = netlink_nest(message, TCA_U32_ACT);
	struct nlattr *first = netlink_nest(message, 1);

	netlink_put_text(message, TCA_ACT_KIND, "mirred");
	struct nlattr *options = netlink_nest(message, TCA_ACT_OPTIONS);
	netlink_put(message, TCA_MIRRED_PARMS, &redirect, sizeof(redirect));
	netlink_nest_end(message, options);
	netlink_nest_end(message, first);
	netlink_nest_end(message, actions);
}

/* u32 with a mask of nothing is in more kernels than matchall. to 0: nothing is done, and the
 * kernel goes on with the packet. */
static int add_filter(int fd, int from, unsigned priority, uint16_t protocol,
		      const struct tc_u32_key *key, int to)
{
	_Alignas(struct tc_u32_sel) char
		all[sizeof(struct tc_u32_sel) + sizeof(struct tc_u32_key)] = {};
	struct tc_u32_sel *selector = (struct tc_u32_sel *)all; /* and its one key */
	struct netlink_message message;
	struct tcmsg *header = begin(&message, RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, from);

	selector->flags = TC_U32_TERMINAL;
	selector->nkeys = 1;
	memcpy(all + sizeof(*selector), key, sizeof(*key));
	name_filter(header, priority, protocol);
	netlink_put_text(&message, TCA_KIND, "u32");
	struct nlattr *options = netlink_nest(&message, TCA_OPTIONS);
	netlink_put(&message, TCA_U32_SEL, all, sizeof(all));
	if (to > 0)
		put_action(&message, to);
	netlink_nest_end(&message, options);
	return netlink_ask(fd, &message);
}

int redirect_spare(int fd, int from, const uint8_t address[static 4], unsigned bits)
{
	struct tc_u32_key key = { .mask = htonl(UINT32_MAX << (32 - bits)), .off = IP_DESTINATION };

	memcpy(&key.val, address, sizeof(key.val));
	return add_filter(fd, from, PRIORITY_SPARE, ETH_P_IP, &key, 0);
}

int redirect_add(int fd, int from, int to, const char *name, struct error *err)
{
	int r = change_queue(fd, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, from);

	if (r == -EEXIST)
		return error_set(err, EBUSY,
				 "others have an ingress queue at interface %s of the pod", name);
	if (r == 0)
		r = add_filter(fd, from, PRIORITY, ETH_P_ALL, &(struct tc_u32_key){}, to);
	return r < 0 ? error_set_errno(err, r,
				       "cannot redirect what comes in by interface %s of the pod "
				       "(modprobe sch_ingress cls_u32 act_mirred)",
				       name)
		     : 0;
}

void redirect_remove(int fd, int index)
{
	struct netlink_message message;

	name_filter(begin(&message, RTM_DELTFILTER, 0, index), PRIORITY, ETH_P_ALL);
	netlink_put_text(&message, TCA_KIND, "u32");
	if (netlink_ask(fd, &message) == 0)
		(void)change_queue(fd, RTM_DELQDISC, 0, index);
}
