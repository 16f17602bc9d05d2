#include "proto/pod_loopback.h"

#include <linux/if_link.h>
#include <linux/ip.h>
#include <sys/socket.h>

#include "proto/netlink.h"

int interface_open_loopback(int fd, int index)
{
	struct netlink_message message;
	struct ifinfomsg *link = netlink_begin(&message, RTM_NEWLINK, 0, sizeof(*link));

	link->ifi_index = index;
	struct nlattr *families = netlink_nest(&message, IFLA_AF_SPEC);
	struct nlattr *four = netlink_nest(&message, AF_INET);
	struct nlattr *settings = netlink_nest(&message, IFLA_INET_CONF);
	netlink_put_u32(&message, IPV4_DEVCONF_ROUTE_LOCALNET, 1);
	netlink_nest_end(&message, settings);
	netlink_nest_end(&message, four);
	netlink_nest_end(&message, families);
	return netlink_ask(fd, &message);
}
