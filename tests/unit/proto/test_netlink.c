/* Netlink's messages: what is built, answers that lie about their lengths, and a real kernel's word
 * in a network namespace of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if_arp.h>
#include <sched.h>
#include <string.h>

#include "proto/netlink.h"
#include "proto/network.h"

static void count(const struct nlmsghdr *message _unused_, void *userdata)
{
	++*(unsigned *)userdata;
}

static void test_build(void **state _unused_)
{
	struct netlink_message message;
	const struct nlattr *table[IFLA_MTU + 1], *inner[3];
	char name[IFNAMSIZ];

	memset(&message, 0xff, sizeof(message));
	struct ifinfomsg *link = netlink_begin(&message, RTM_NEWLINK, NLM_F_CREATE, sizeof(*link));
	assert_int_equal(link->ifi_index, 0);
	netlink_put_text(&message, IFLA_IFNAME, "eth0");
	struct nlattr *nest = netlink_nest(&message, 1);
	netlink_put_u32(&message, 2, 7);
	netlink_nest_end(&message, nest);
	netlink_put_u32(&message, IFLA_MTU, 1450);
	assert_int_equal(message.header.nlmsg_flags, NLM_F_REQUEST | NLM_F_CREATE);
	assert_int_equal(message.header.nlmsg_len, 16 + 16 + 12 + 4 + 8 + 8);
	assert_true(netlink_attributes(&message.header, sizeof(*link), table, ARRAY_SIZE(table)));
	netlink_text(table[IFLA_IFNAME], name, sizeof(name));
	assert_string_equal(name, "eth0");
	assert_int_equal(netlink_u32(table[IFLA_MTU]), 1450);
	netlink_nested(table[1], inner, ARRAY_SIZE(inner));
	assert_int_equal(netlink_u32(inner[2]), 7);
	assert_null(inner[1]);
	netlink_nested(NULL, inner, ARRAY_SIZE(inner));
	assert_null(inner[2]);
}

static void test_attributes_that_lie(void **state _unused_)
{
	struct netlink_message message;
	const struct nlattr *table[IFLA_MTU + 1];
	char name[4];

	struct ifinfomsg *link = netlink_begin(&message, RTM_NEWLINK, 0, sizeof(*link));
	netlink_put_text(&message, IFLA_IFNAME, "eth0");
	struct nlattr *attribute = (struct nlattr *)(link + 1);
	attribute->nla_len = 200; /* beyond the message */
	assert_true(netlink_attributes(&message.header, sizeof(*link), table, ARRAY_SIZE(table)));
	assert_null(table[IFLA_IFNAME]);
	attribute->nla_len = 2; /* less than its own header */
	assert_true(netlink_attributes(&message.header, sizeof(*link), table, ARRAY_SIZE(table)));
	assert_null(table[IFLA_IFNAME]);
	attribute->nla_len = NLA_HDRLEN + 4; /* a text without an end */
	netlink_text(attribute, name, sizeof(name));
	assert_string_equal(name, "");
	attribute->nla_len = NLA_HDRLEN + 5; /* longer than there is room */
	netlink_text(attribute, name, sizeof(name));
	assert_string_equal(name, "");
	assert_int_equal(netlink_u32(attribute), 0);
	message.header.nlmsg_len = NLMSG_HDRLEN + 4; /* no whole header */
	assert_false(netlink_attributes(&message.header, sizeof(*link), table, ARRAY_SIZE(table)));
}

static int read_error(int error, uint32_t len)
{
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
	} answer = { { len, NLMSG_ERROR, 0, 5, 0 }, { .error = error } };
	struct netlink_answer read = { .sequence = 5 };

	return netlink_read(&read, &answer, len);
}

static void test_answers(void **state _unused_)
{
	unsigned seen = 0;
	struct nlmsghdr list[3] = {
		{ NLMSG_HDRLEN, RTM_NEWLINK, NLM_F_MULTI, 5, 0 },
		{ NLMSG_HDRLEN, RTM_NEWLINK, NLM_F_MULTI, 4, 0 }, /* another request's */
		{ NLMSG_HDRLEN, NLMSG_DONE, NLM_F_MULTI, 5, 0 },
	};
	struct netlink_answer answer = { .sequence = 5, .fn = count, .userdata = &seen };

	assert_int_equal(read_error(0, NLMSG_LENGTH(sizeof(struct nlmsgerr))), 1);
	assert_int_equal(read_error(-EPERM, NLMSG_LENGTH(sizeof(struct nlmsgerr))), -EPERM);
	assert_int_equal(read_error(EPERM, NLMSG_LENGTH(sizeof(struct nlmsgerr))), -EBADMSG);
	assert_int_equal(read_error(0, NLMSG_HDRLEN), -EBADMSG);
	assert_int_equal(netlink_read(&answer, list, sizeof(list[0]) * 2), 0);
	assert_int_equal(netlink_read(&answer, list, sizeof(list)), 1);
	assert_int_equal(seen, 2);
	list[0].nlmsg_flags |= NLM_F_DUMP_INTR;
	assert_int_equal(netlink_read(&answer, list, sizeof(list[0]) * 2), 0);
	assert_int_equal(netlink_read(&answer, &list[2], sizeof(list[2])), -EINTR);
	list[0].nlmsg_len = 4;
	assert_int_equal(netlink_read(&answer, list, sizeof(list)), -EBADMSG);
	list[0].nlmsg_len = 400;
	assert_int_equal(netlink_read(&answer, list, sizeof(list)), -EBADMSG);
	assert_int_equal(netlink_read(&answer, list, 7), -EBADMSG);
}

static void test_what_is_left_out(void **state _unused_)
{
	struct network network = {};
	struct netlink_message message;
	struct rtmsg *route;
	struct ifaddrmsg *address;
	const uint8_t four[4] = { 10, 1, 2, 3 };

	(void)netlink_begin(&message, RTM_NEWLINK, 0, 3); /* shorter than a link's header */
	network_take(&network, &message.header);
	address = netlink_begin(&message, RTM_NEWADDR, 0, sizeof(*address));
	address->ifa_family = AF_INET;
	address->ifa_prefixlen = 33;
	netlink_put(&message, IFA_LOCAL, four, 4);
	network_take(&network, &message.header); /* more bits than it has */
	address->ifa_family = AF_INET6;
	network_take(&network, &message.header); /* fewer bytes than it needs */
	route = netlink_begin(&message, RTM_NEWROUTE, 0, sizeof(*route));
	route->rtm_family = AF_INET;
	route->rtm_table = RT_TABLE_MAIN;
	route->rtm_type = RTN_UNICAST;
	route->rtm_dst_len = 8; /* and no destination */
	network_take(&network, &message.header);
	route->rtm_dst_len = 0;
	route->rtm_type = RTN_BLACKHOLE;
	network_take(&network, &message.header);
	assert_int_equal(network.links.count + network.addresses.count + network.routes.count, 0);
	route->rtm_type = RTN_UNICAST;
	for (unsigned i = 0; i <= NETWORK_ENTRIES_MAX; i++)
		network_take(&network, &message.header);
	assert_int_equal(network.routes.count, NETWORK_ENTRIES_MAX);
	assert_true(network.overflowed);
	network_done(&network);
}

static void test_texts(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};
	struct network_address address;
	uint8_t mac[NETWORK_MAC_SIZE];

	assert_int_equal(network_address_parse("10.1.2.3", &address, &err), 0);
	assert_int_equal(address.prefix, 32);
	assert_int_equal(network_address_parse("fd00::1/64", &address, &err), 0);
	assert_int_equal(address.family, AF_INET6);
	assert_int_equal(address.prefix, 64);
	assert_int_equal(network_address_parse("10.1.2.3/33", &address, &err), -EINVAL);
	assert_int_equal(network_address_parse("10.1.2/8", &address, &err), -EINVAL);
	assert_int_equal(network_address_parse("", &address, &err), -EINVAL);
	assert_int_equal(network_mac_parse("02:00:0a:0B:0c:0d", mac, &err), 0);
	assert_int_equal(mac[3], 0x0b);
	assert_int_equal(network_mac_parse("01:00:00:00:00:00", mac, &err), -EINVAL);
	assert_int_equal(network_mac_parse("02:00:00:00:00:0", mac, &err), -EINVAL);
	assert_int_equal(network_mac_parse("02:00:00:00:00:00:", mac, &err), -EINVAL);
}

static void test_kernel(void **state _unused_)
{
	struct netlink_message message;
	_cleanup_(network_done) struct network network = {};
	_cleanup_(error_done) struct error err = {};

	if (unshare(CLONE_NEWNET) < 0) {
		print_message("needs root: skipped\n");
		skip();
	}
	_cleanup_close_ int fd = netlink_socket();
	assert_true(fd >= 0);
	assert_int_equal(network_read(fd, &network, &err), 0);
	assert_true(network.links.count >= 1);
	const struct network_link *lo = network_find(&network, "lo");
	assert_non_null(lo);
	assert_int_equal(lo->type, ARPHRD_LOOPBACK);
	struct ifinfomsg *link = netlink_begin(&message, RTM_NEWLINK, 0, sizeof(*link));
	link->ifi_index = 4711;
	assert_int_equal(netlink_ask(fd, &message), -ENODEV);
	link = netlink_begin(&message, RTM_NEWLINK, 0, sizeof(*link));
	link->ifi_index = lo->index;
	netlink_put_u32(&message, IFLA_MTU, 1400);
	assert_int_equal(netlink_ask(fd, &message), 0);
	network_done(&network);
	assert_int_equal(network_read_parts(fd, NETWORK_LINKS, &network, &err), 0);
	assert_int_equal(network_find(&network, "lo")->mtu, 1400);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_build),   cmocka_unit_test(test_attributes_that_lie),
		cmocka_unit_test(test_answers), cmocka_unit_test(test_what_is_left_out),
		cmocka_unit_test(test_texts),   cmocka_unit_test(test_kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
