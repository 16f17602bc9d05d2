/* A guest's interfaces, routes and neighbours, in a network namespace of the test's own with the
 * real kernel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "agent/interfaces.h"
#include "agent/routes.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "proto/netlink.h"
#include "proto/network.h"
#include "proto/pbjson.h"

static const char *skip_reason;

/* A pair, so that it has a carrier once both ends are up. */
static int make_cards(void)
{
	struct netlink_message message;
	_cleanup_close_ int fd = netlink_socket();
	struct ifinfomsg *link = netlink_begin(&message, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL,
					       sizeof(*link));

	netlink_put_text(&message, IFLA_IFNAME, "card0");
	struct nlattr *info = netlink_nest(&message, IFLA_LINKINFO);
	netlink_put(&message, IFLA_INFO_KIND, "veth", 4);
	netlink_nest_end(&message, info);
	return netlink_ask(fd, &message);
}

static int setup(void **state _unused_)
{
	if (unshare(CLONE_NEWNET) < 0)
		skip_reason = "needs root";
	else if (make_cards() < 0)
		skip_reason = "this kernel has no veth";
	return 0;
}

static void skip_unless_possible(void)
{
	if (!skip_reason)
		return;
	print_message("%s: skipped\n", skip_reason);
	skip();
}

typedef int (*update_fn)(const void *message, struct error *err);

static int update(const ProtobufCMessageDescriptor *descriptor, const char *text, update_fn fn)
{
	_cleanup_(error_done) struct error err = {};
	ProtobufCMessage *message = NULL;
	json_t *json = json_loads(text, 0, NULL);

	assert_non_null(json);
	assert_int_equal(pbjson_to_message(descriptor, json, PBJSON_STRICT, &message, &err), 0);
	json_decref(json);
	int r = fn(message, &err);
	protobuf_c_message_free_unpacked(message, NULL);
	if (r < 0)
		print_message("%s\n", error_message(&err));
	return r;
}

static int interface(const char *json)
{
	return update(&types__interface__descriptor, json, (update_fn)interface_update);
}

static int routes(const char *json)
{
	return update(&grpc__routes__descriptor, json, (update_fn)routes_update);
}

static int neighbours(const char *json)
{
	return update(&grpc__arpneighbors__descriptor, json, (update_fn)neighbours_add);
}

/* "MAC MTU ADDRESS/PREFIX ..." of an interface. */
static void expect_interface(const char *name, const char *wanted)
{
	_cleanup_(strbuf_done) struct strbuf text = {};
	_cleanup_(error_done) struct error err = {};
	Grpc__Interfaces *list;

	assert_int_equal(interfaces_list(&list, &err), 0);
	for (size_t i = 0; i < list->n_interfaces; i++) {
		const Types__Interface *entry = list->interfaces[i];

		if (!str_equal(entry->name, name))
			continue;
		strbuf_addf(&text, "%s %lu %s", entry->hwaddr, (unsigned long)entry->mtu,
			    entry->raw_flags & IFF_UP ? "up" : "down");
		for (size_t n = 0; n < entry->n_ipaddresses; n++)
			strbuf_addf(&text, " %s/%s", entry->ipaddresses[n]->address,
				    entry->ipaddresses[n]->mask);
	}
	assert_string_equal(strbuf_text(&text), wanted);
	grpc__interfaces__free_unpacked(list, NULL);
}

/* What is not the kernel's about addresses of a link's own is there, a line each. */
static void expect_route(const char *dest, const char *wanted)
{
	_cleanup_(strbuf_done) struct strbuf text = {};
	_cleanup_(error_done) struct error err = {};
	Grpc__Routes *list;

	assert_int_equal(routes_list(&list, &err), 0);
	for (size_t i = 0; i < list->n_routes; i++) {
		const Types__Route *entry = list->routes[i];

		if (str_equal(entry->dest, dest))
			strbuf_addf(&text,
				    "via %s dev %s src %s scope %u flags %u mtu %u metric %u;",
				    entry->gateway, entry->device, entry->source, entry->scope,
				    entry->flags, entry->mtu, entry->metric);
	}
	assert_string_equal(strbuf_text(&text), wanted);
	grpc__routes__free_unpacked(list, NULL);
}

static void test_interface(void **state _unused_)
{
	skip_unless_possible();
	/* As warming does it: only what is named changes. */
	assert_int_equal(interface("{\"device\": \"card0\", \"hwAddr\": \"02:00:00:00:00:01\"}"),
			 0);
	expect_interface("card0", "02:00:00:00:00:01 1500 down");
	assert_int_equal(
		interface("{\"device\": \"card0\", \"name\": \"eth0\", \"mtu\": 1450, "
			  "\"hwAddr\": \"02:00:00:00:00:02\", \"IPAddresses\": ["
			  "{\"address\": \"10.1.0.2\", \"mask\": \"24\"}, "
			  "{\"family\": \"v6\", \"address\": \"fd00::2\", \"mask\": \"64\"}]}"),
		0);
	expect_interface("eth0", "02:00:00:00:00:02 1450 up 10.1.0.2/24 fd00::2/64");
	/* Found by its address; what it had is gone. It is renamed though it is up. */
	assert_int_equal(interface("{\"name\": \"net1\", \"hwAddr\": \"02:00:00:00:00:02\", "
				   "\"IPAddresses\": [{\"address\": \"10.2.0.2\", "
				   "\"mask\": \"16\"}]}"),
			 0);
	expect_interface("net1", "02:00:00:00:00:02 1450 up 10.2.0.2/16");
	assert_int_equal(interface("{\"device\": \"net1\", \"name\": \"eth0\"}"), 0);
	expect_interface("eth0", "02:00:00:00:00:02 1450 up");
}

static void test_what_an_interface_cannot_be(void **state _unused_)
{
	skip_unless_possible();
	assert_int_equal(interface("{\"device\": \"eth7\"}"), -ENOENT);
	assert_int_equal(interface("{\"device\": \"eth0\", \"mtu\": 70000}"), -EINVAL);
	assert_int_equal(interface("{\"device\": \"eth0\", \"name\": \"a-name-of-16-char\"}"),
			 -EINVAL);
	assert_int_equal(interface("{\"device\": \"eth0\", \"name\": \"lo\"}"), -EEXIST);
	assert_int_equal(interface("{\"device\": \"eth0\", \"name\": \"eth0\", \"IPAddresses\": "
				   "[{\"address\": \"10.1.0.2\", \"mask\": \"40\"}]}"),
			 -EINVAL);
	assert_int_equal(interface("{\"device\": \"eth0\", \"IPAddresses\": [{}]}"), -EINVAL);
}

static void test_routes(void **state _unused_)
{
	skip_unless_possible();
	assert_int_equal(interface("{\"device\": \"eth0\", \"name\": \"eth0\", \"IPAddresses\": ["
				   "{\"address\": \"10.1.0.2\", \"mask\": \"24\"}, "
				   "{\"family\": \"v6\", \"address\": \"fd00::2\", "
				   "\"mask\": \"64\"}]}"),
			 0);
	/* The order is wrong on purpose: the first one's gateway is reached by the last. */
	assert_int_equal(
		routes("{\"Routes\": ["
		       "{\"gateway\": \"10.9.0.1\", \"device\": \"eth0\", \"mtu\": 1400, "
		       "\"source\": \"10.1.0.2\"}, "
		       "{\"family\": \"v6\", \"dest\": \"::/0\", \"gateway\": \"fd00::1\", "
		       "\"device\": \"eth0\", \"metric\": 7}, "
		       "{\"dest\": \"10.3.0.0/16\", \"gateway\": \"192.0.2.1\", \"flags\": 4, "
		       "\"device\": \"eth0\", \"metric\": 50}, "
		       "{\"dest\": \"10.4.0.0/16\", \"gateway\": \"fd00::9\", "
		       "\"device\": \"eth0\"}, "
		       "{\"dest\": \"10.9.0.1\", \"device\": \"eth0\", \"scope\": 253}]}"),
		0);
	expect_route("0.0.0.0/0",
		     "via 10.9.0.1 dev eth0 src 10.1.0.2 scope 0 flags 0 mtu 1400 metric 0;");
	expect_route("10.9.0.1/32", "via  dev eth0 src  scope 253 flags 0 mtu 0 metric 0;");
	expect_route("10.3.0.0/16", "via 192.0.2.1 dev eth0 src  scope 0 flags 4 mtu 0 metric 50;");
	expect_route("10.4.0.0/16", "via fd00::9 dev eth0 src  scope 0 flags 0 mtu 0 metric 0;");
	expect_route("::/0", "via fd00::1 dev eth0 src  scope 0 flags 0 mtu 0 metric 7;");
	expect_route("10.1.0.0/24", "via  dev eth0 src 10.1.0.2 scope 253 flags 0 mtu 0 metric 0;");
	/* As the plugin ptp has it: the subnet is behind the gateway, not on the link. */
	assert_int_equal(routes("{\"Routes\": [{\"dest\": \"10.1.0.0/24\", \"gateway\": "
				"\"10.1.0.1\", \"device\": \"eth0\"}, {\"dest\": \"10.1.0.1\", "
				"\"device\": \"eth0\", \"scope\": 253}]}"),
			 0);
	expect_route("10.1.0.0/24", "via 10.1.0.1 dev eth0 src  scope 0 flags 0 mtu 0 metric 0;");
	expect_route("0.0.0.0/0", "");
	assert_int_equal(routes("{\"Routes\": [{\"gateway\": \"203.0.113.1\", "
				"\"device\": \"eth0\"}]}"),
			 -ENETUNREACH);
	assert_int_equal(routes("{\"Routes\": [{\"device\": \"eth7\"}]}"), -ENOENT);
	assert_int_equal(routes("{\"Routes\": [{\"dest\": \"10.0.0.0/x\", "
				"\"device\": \"eth0\"}]}"),
			 -EINVAL);
	assert_int_equal(routes("{\"Routes\": [{\"dest\": \"fd00::/64\", "
				"\"device\": \"eth0\"}]}"),
			 -EINVAL);
}

static void test_neighbours(void **state _unused_)
{
	_cleanup_(network_done) struct network network = {};
	_cleanup_(error_done) struct error err = {};

	skip_unless_possible();
	assert_int_equal(neighbours("{\"ARPNeighbors\": [{\"toIPAddress\": {\"address\": "
				    "\"169.254.1.1\"}, \"device\": \"eth0\", "
				    "\"lladdr\": \"ee:ee:ee:ee:ee:ee\", \"state\": 128}, "
				    "{\"toIPAddress\": {\"address\": \"fd00::1\"}, "
				    "\"device\": \"eth0\", \"lladdr\": \"02:00:00:00:00:09\"}]}"),
			 0);
	_cleanup_close_ int fd = netlink_socket();
	assert_int_equal(network_read(fd, &network, &err), 0);
	assert_int_equal(network.neighbours.count, 2);
	assert_int_equal(neighbours("{\"ARPNeighbors\": [{\"device\": \"eth0\"}]}"), -EINVAL);
	assert_int_equal(neighbours("{\"ARPNeighbors\": [{\"toIPAddress\": {\"address\": \"x\"}, "
				    "\"device\": \"eth0\"}]}"),
			 -EINVAL);
}

static int name_of(const char *hwaddr, const char *name)
{
	_cleanup_(error_done) struct error err = {};

	return interface_name(hwaddr, name, &err);
}

static void test_name(void **state _unused_)
{
	skip_unless_possible();
	assert_int_equal(interface("{\"device\": \"veth0\", \"hwAddr\": \"02:00:00:00:00:03\", "
				   "\"mtu\": 1500}"),
			 0);
	assert_int_equal(name_of("02:00:00:00:00:03", "kiln1"), 0);
	assert_int_equal(name_of("02:00:00:00:00:03", "kiln1"), 0); /* as it is */
	expect_interface("kiln1", "02:00:00:00:00:03 1500 down");
	assert_int_equal(name_of("02:00:00:00:00:07", "kiln2"), -ENOENT);
	assert_int_equal(name_of("02:00:00:00:00", "kiln2"), -EINVAL);
	assert_int_equal(name_of("02:00:00:00:00:03", ""), -EINVAL);
	assert_int_equal(name_of("02:00:00:00:00:03", "a-name-of-16-chr"), -EINVAL);
	assert_int_equal(name_of("02:00:00:00:00:03", "a/b"), -EINVAL);
}

static void test_clear(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};

	skip_unless_possible();
	assert_int_equal(interfaces_clear(&err), 0);
	expect_interface("eth0", "02:00:00:00:00:02 1450 down");
	expect_route("10.1.0.0/24", "");
}

/* A card that waits and is not used, for one that is plugged in; and one whose interface is gone.
 */
static void test_a_name_that_another_has(void **state _unused_)
{
	skip_unless_possible();
	unsigned first = if_nametoindex("eth0"), second = if_nametoindex("kiln1");
	_cleanup_free_ char *idle = xasprintf("idle%u", first);
	_cleanup_free_ char *other = xasprintf("idle%u", second);
	_cleanup_free_ char *back = xasprintf("{\"device\": \"%s\", \"name\": \"eth0\"}", idle);

	assert_int_equal(interface("{\"device\": \"kiln1\", \"name\": \"eth0\", "
				   "\"hwAddr\": \"02:00:00:00:00:04\", \"IPAddresses\": "
				   "[{\"address\": \"10.1.0.2\", \"mask\": \"24\"}]}"),
			 0);
	expect_interface("eth0", "02:00:00:00:00:04 1500 up 10.1.0.2/24");
	expect_interface(idle, "02:00:00:00:00:02 1450 down");
	assert_int_equal(interface(back), 0);
	expect_interface("eth0", "02:00:00:00:00:02 1450 up");
	expect_interface(other, "02:00:00:00:00:04 1500 down");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_interface),
		cmocka_unit_test(test_what_an_interface_cannot_be),
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_neighbours),
		cmocka_unit_test(test_name),
		cmocka_unit_test(test_clear),
		cmocka_unit_test(test_a_name_that_another_has),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
