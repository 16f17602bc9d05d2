#include "shim/redirect.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/tc_act/tc_mirred.h>

#include "proto/netlink.h"

/* Of our filters, by which they are known: nobody else would choose it. */
#define PRIORITY 0x6b69u

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

static void name_filter(struct tcmsg *header)
{
	header->tcm_parent = TC_H_MAKE(TC_H_INGRESS, 0);
	header->tcm_info = TC_H_MAKE(PRIORITY << 16, htons(ETH_P_ALL));
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

/* u32 with a mask of nothing is in more kernels than matchall. */
static int add_filter(int fd, int from, int to)
{
	_Alignas(struct tc_u32_sel) char
		all[sizeof(struct tc_u32_sel) + sizeof(struct tc_u32_key)] = {};
	struct tc_u32_sel *selector = (struct tc_u32_sel *)all; /* and its one key, of zero */
	struct netlink_message message;
	struct tcmsg *header = begin(&message, RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, from);

	selector->flags = TC_U32_TERMINAL;
	selector->nkeys = 1;
	name_filter(header);
	netlink_put_text(&message, TCA_KIND, "u32");
	struct nlattr *options = netlink_nest(&message, TCA_OPTIONS);
	netlink_put(&message, TCA_U32_SEL, all, sizeof(all));
	put_action(&message, to);
	netlink_nest_end(&message, options);
	return netlink_ask(fd, &message);
}

int redirect_add(int fd, int from, int to, const char *name, struct error *err)
{
	int r = change_queue(fd, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, from);

	if (r == -EEXIST)
		return error_set(err, EBUSY,
				 "others have an ingress queue at interface %s of the pod", name);
	if (r == 0)
		r = add_filter(fd, from, to);
	return r < 0 ? error_set_errno(err, r,
				       "cannot redirect what comes in by interface %s of the pod "
				       "(modprobe sch_ingress cls_u32 act_mirred)",
				       name)
		     : 0;
}

void redirect_remove(int fd, int index)
{
	struct netlink_message message;

	name_filter(begin(&message, RTM_DELTFILTER, 0, index));
	netlink_put_text(&message, TCA_KIND, "u32");
	if (netlink_ask(fd, &message) == 0)
		(void)change_queue(fd, RTM_DELQDISC, 0, index);
}
