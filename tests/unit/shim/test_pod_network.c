/* A pod's namespace read, joined with the taps of another one, and left, by the real kernel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "base/memory.h"
#include "base/spawn.h"
#include "base/strings.h"
#include "factory/guest/redirect.h"
#include "proto/netlink.h"
#include "shim/netns.h"
#include "shim/pod_network.h"

#define VM "vm-1"

/* The VMM: a process in a namespace with taps, which it holds. */
struct vmm {
	pid_t pid;
	int pidfd;
};

struct bench {
	struct vmm vmm;
	char netns[64]; /* of a process that is the pod's */
	pid_t pod;
};

static const char *skip_reason;

static void run(const char *script)
{
	char *output = NULL;
	_cleanup_(error_done) struct error err = {};

	if (spawn_and_wait(SPAWN_ARGV("sh", "-ec", script), &output, &err) < 0)
		fail_msg("%s", error_message(&err));
	free(output);
}

static void in_pod(const struct bench *bench, const char *script)
{
	_cleanup_free_ char *text = xasprintf("nsenter --net=%s sh -ec '%s'", bench->netns, script);

	run(text);
}

static void hold_taps(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI };
		int fd = open("/dev/net/tun", O_RDWR);

		snprintf(request.ifr_name, sizeof(request.ifr_name), NETWORK_CARD_TAP, (size_t)i);
		if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0)
			_exit(1);
	}
}

/* A process in a namespace of its own; it is there when this returns. */
static pid_t start(unsigned taps)
{
	int ready[2];
	char byte;

	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWNET) < 0)
			_exit(1);
		hold_taps(taps);
		(void)!write(ready[1], "", 1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static int setup(void **state)
{
	struct bench *bench = xnew(struct bench);

	*state = bench;
	if (geteuid() != 0 || access("/dev/net/tun", W_OK) < 0) {
		skip_reason = "needs root and /dev/net/tun";
		return 0;
	}
	bench->vmm.pid = start(2);
	bench->vmm.pidfd = pidfd_open(bench->vmm.pid, 0);
	bench->pod = start(0);
	snprintf(bench->netns, sizeof(bench->netns), "/proc/%d/ns/net", (int)bench->pod);
	in_pod(bench, "ip link set lo up; ip link add eth0 mtu 1450 type veth peer name host;"
		      "ip link set host up; ip link set eth0 up;"
		      "ip addr add 10.1.0.2/24 dev eth0; ip -6 addr add fd00::2/64 dev eth0 nodad;"
		      "ip route add default via 10.1.0.1; ip link set host down;"
		      "ip neigh add 10.1.0.1 lladdr 02:00:00:00:00:09 dev eth0;"
		      "ip link add idle type bridge");
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	if (!skip_reason) {
		end(bench->vmm.pid);
		end(bench->pod);
		close(bench->vmm.pidfd);
	}
	free(bench);
	return 0;
}

static void skip_unless_possible(void)
{
	if (!skip_reason)
		return;
	print_message("%s: skipped\n", skip_reason);
	skip();
}

static int try_read(const struct bench *bench, struct pod_network **ret)
{
	_cleanup_(error_done) struct error err = {};
	int r = pod_network_read(bench->netns, NETWORK_TCFILTER, ret, &err);

	if (r < 0)
		print_message("%s\n", error_message(&err));
	return r;
}

static void assign(struct pod_network *pod, size_t waiting)
{
	assert_int_equal(pod_network_assign(pod, waiting, NULL), 0);
}

static void what_a_pod_has_is_told(void **state)
{
	struct bench *bench = *state;
	struct pod_network *pod = NULL;

	skip_unless_possible();
	assert_int_equal(try_read(bench, &pod), 0);
	assert_int_equal(pod->count, 1); /* the one that is up */
	const Types__Interface *eth0 = pod->interfaces->interfaces[0];
	assert_string_equal(eth0->name, "eth0");
	assert_int_equal(eth0->mtu, 1450);
	assert_string_equal(eth0->ipaddresses[0]->address, "10.1.0.2");
	assert_string_equal(eth0->ipaddresses[0]->mask, "24");
	assert_int_equal(pod->routes->n_routes, 2);
	assert_string_equal(pod->routes->routes[0]->gateway, "10.1.0.1");
	assert_string_equal(pod->routes->routes[1]->dest, "169.254.107.105/32"); /* the namespace */
	assert_int_equal(pod->neighbours->n_arpneighbors, 2);
	assign(pod, 1);
	assert_string_equal(eth0->device, "eth0");
	assert_int_equal(pod_network_cards(pod), 1);
	assign(pod, 0); /* none waits: it will be plugged in */
	assert_string_equal(eth0->device, "kiln0");
	pod_network_free(pod);
}

/* As the plugin ptp has it: no route of the address's own. */
static void address_without_its_route_has_all_its_bits(void **state)
{
	struct bench *bench = *state;
	struct pod_network *pod = NULL;

	skip_unless_possible();
	in_pod(bench,
	       "ip route del 10.1.0.0/24 dev eth0; ip route add 10.1.0.1 dev eth0 scope link");
	assert_int_equal(try_read(bench, &pod), 0);
	assert_string_equal(pod->interfaces->interfaces[0]->ipaddresses[0]->mask, "32");
	pod_network_free(pod);
}

static void cards_go_by_the_names_they_have(void **state)
{
	struct bench *bench = *state;
	struct pod_network *pod = NULL;

	skip_unless_possible();
	in_pod(bench, "ip link set eth0 down; ip link set eth0 name eth1; ip link set eth1 up;"
		      "ip link add net9 type bridge; ip link set net9 up");
	assert_int_equal(try_read(bench, &pod), 0);
	assert_int_equal(pod->count, 2);
	assign(pod, 2);
	assert_string_equal(pod->interfaces->interfaces[0]->name, "eth1");
	assert_string_equal(pod->interfaces->interfaces[0]->device, "eth1");
	assert_string_equal(pod->interfaces->interfaces[1]->device, "eth0");
	assign(pod, 1); /* what waits goes to the first, for neither has its name */
	assert_string_equal(pod->interfaces->interfaces[0]->device, "eth0");
	assert_string_equal(pod->interfaces->interfaces[1]->device, "kiln1");
	assert_int_equal(pod_network_cards(pod), 2);
	pod_network_free(pod);
}

static void what_a_machine_cannot_have_is_refused(void **state)
{
	struct bench *bench = *state;
	struct pod_network *pod = NULL;
	_cleanup_(error_done) struct error err = {};

	skip_unless_possible();
	in_pod(bench,
	       "ip route add 10.7.0.0/16 nexthop via 10.1.0.1 nexthop via 10.1.0.1 weight 2");
	assert_int_equal(try_read(bench, &pod), -EOPNOTSUPP);
	in_pod(bench, "ip route del 10.7.0.0/16; ip tuntap add t0 mode tun; ip link set t0 up");
	assert_int_equal(try_read(bench, &pod), -EOPNOTSUPP);
	assert_int_equal(pod_network_read("/proc/self/ns/net", NETWORK_TCFILTER, &pod, &err),
			 -EOPNOTSUPP);
	assert_int_equal(pod_network_read("/proc/self/ns/mnt", NETWORK_TCFILTER, &pod, &err),
			 -EINVAL);
	assert_int_equal(pod_network_read("/nowhere", NETWORK_TCFILTER, &pod, &err), -EINVAL);
}

static void joined_and_left(void **state)
{
	struct bench *bench = *state;
	struct pod_network *pod = NULL, *second = NULL;
	_cleanup_(error_done) struct error err = {};

	skip_unless_possible();
	assert_int_equal(try_read(bench, &pod), 0);
	assign(pod, 1);
	assert_int_equal(pod_network_join(pod, bench->vmm.pidfd, &err), 0);
	in_pod(bench,
	       "ip link show kiln0 | grep -q \"mtu 1450 .* UP\\|UP.* mtu 1450\";"
	       "tc filter show dev eth0 ingress | grep -q \"Egress Redirect to device kiln0\";"
	       "tc filter show dev kiln0 ingress | grep -q \"Egress Redirect to device eth0\";"
	       "ip route get 127.0.0.1 | grep -q \"dev kiln0 src 169.254.107.105\";"
	       "ip route get 127.0.0.2 | grep -q \"dev lo\"");
	/* Whoever comes second changes nothing. */
	assert_int_equal(try_read(bench, &second), -EBUSY);
	pod_network_clean(bench->netns, VM);
	in_pod(bench, "tc filter show dev eth0 ingress | grep -q kiln0");
	pod_network_leave(pod, VM);
	in_pod(bench, "test -z \"$(tc qdisc show dev eth0 ingress)\"");
	pod_network_free(pod);
}

/* What pod_link.c does once the guest was told. */
static void note_told(struct pod_network *pod)
{
	for (size_t i = 0; i < pod->count; i++) {
		pod->is_told[i] = true;
		snprintf(pod->guest_names[pod->cards[i]], IFNAMSIZ, "%s", pod->links[i]->name);
	}
}

/* Takes the place of *pod; false: nothing has changed. */
static bool look_again(const struct bench *bench, struct pod_network **pod)
{
	_cleanup_(error_done) struct error err = {};
	struct pod_network *now = NULL;

	if (pod_network_read_again(*pod, 2, &now, &err) < 0 ||
	    (pod_network_has_changed(*pod, now) &&
	     pod_network_join(now, bench->vmm.pidfd, &err) < 0))
		fail_msg("%s", error_message(&err));
	bool changed = pod_network_has_changed(*pod, now);
	pod_network_free(*pod);
	*pod = now;
	return changed;
}

static void what_comes_later_gets_a_card(void **state)
{
	struct bench *bench = *state;
	struct pod_network *pod = NULL;

	skip_unless_possible();
	assert_int_equal(try_read(bench, &pod), 0);
	assign(pod, 2);
	assert_int_equal(pod_network_join(pod, bench->vmm.pidfd, NULL), 0);
	note_told(pod);
	assert_false(look_again(bench, &pod));
	in_pod(bench, "ip link set eth0 down; ip link add net1 type veth peer name other;"
		      "ip addr add 10.2.0.2/24 dev net1; ip link set net1 up; ip link set eth0 up");
	assert_true(look_again(bench, &pod));
	assert_int_equal(pod->count, 2); /* what is down meanwhile keeps its card */
	assert_int_equal(pod->cards[1], 1);
	assert_string_equal(pod->interfaces->interfaces[1]->device, "eth1");
	assert_false(pod->is_told[1]);
	in_pod(bench,
	       "tc filter show dev net1 ingress | grep -q \"Egress Redirect to device kiln1\";"
	       "tc filter show dev kiln1 ingress | grep -q \"Egress Redirect to device net1\"");
	note_told(pod);
	look_again(bench, &pod); /* eth0 has lost its routes */
	note_told(pod);
	assert_false(look_again(bench, &pod));
	in_pod(bench, "ip link del net1; ip link add net2 type veth peer name other;"
		      "ip link set net2 up; ip link add net3 type bridge; ip link set net3 up");
	assert_true(look_again(bench, &pod));
	assert_int_equal(pod->count, 2);
	assert_string_equal(pod->links[1]->name, "net2");
	assert_string_equal(pod->interfaces->interfaces[1]->device, "net1"); /* to the guest */
	assert_string_equal(pod->left_out, "net3");
	in_pod(bench,
	       "tc filter show dev net2 ingress | grep -q \"Egress Redirect to device kiln1\";"
	       "test $(tc filter show dev kiln1 ingress | grep -c Redirect) = 1");
	pod_network_leave(pod, VM);
	in_pod(bench, "test -z \"$(tc qdisc show dev net2 ingress)\"");
	pod_network_free(pod);
}

/* With all routes, for the guest loses those of an address that goes. */
static void an_address_that_comes_later_is_told(void **state)
{
	struct bench *bench = *state;
	struct pod_network *pod = NULL;

	skip_unless_possible();
	assert_int_equal(try_read(bench, &pod), 0);
	assign(pod, 1);
	assert_int_equal(pod_network_join(pod, bench->vmm.pidfd, NULL), 0);
	note_told(pod);
	in_pod(bench, "ip addr add 10.3.0.2/24 dev eth0");
	assert_true(look_again(bench, &pod));
	assert_false(pod->is_told[0]);
	assert_true(pod->is_joined[0]);
	note_told(pod);
	in_pod(bench, "ip route add 10.9.0.0/16 via 10.1.0.1");
	assert_true(look_again(bench, &pod));
	assert_true(pod->is_told[0]); /* it is the routes alone */
	pod_network_leave(pod, VM);
	pod_network_free(pod);
}

static void a_change_can_be_heard_of(void **state)
{
	struct bench *bench = *state;
	struct pod_network *pod = NULL;
	struct pollfd poll_ = { .events = POLLIN };

	skip_unless_possible();
	assert_int_equal(try_read(bench, &pod), 0);
	assert_int_equal(pod_network_watch(pod, &poll_.fd, NULL), 0);
	assert_int_equal(poll(&poll_, 1, 0), 0);
	in_pod(bench, "ip link add late type bridge");
	assert_int_equal(poll(&poll_, 1, 10000), 1);
	close(poll_.fd);
	pod_network_free(pod);
}

static void what_a_killed_shim_left_goes(void **state)
{
	struct bench *bench = *state;
	struct pod_network *pod = NULL;
	_cleanup_(error_done) struct error err = {};

	skip_unless_possible();
	assert_int_equal(try_read(bench, &pod), 0);
	assign(pod, 1);
	assert_int_equal(pod_network_join(pod, bench->vmm.pidfd, &err), 0);
	end(bench->vmm.pid);
	pod_network_clean(bench->netns, VM);
	in_pod(bench, "test -z \"$(tc qdisc show dev eth0 ingress)\"; ! ip link show kiln0");
	bench->vmm.pid = start(1);
	pod_network_free(pod);
}

static void others_queues_are_left_alone(void **state)
{
	struct bench *bench = *state;
	struct pod_network *pod = NULL;
	_cleanup_(error_done) struct error err = {};

	skip_unless_possible();
	in_pod(bench, "tc qdisc add dev eth0 ingress");
	assert_int_equal(try_read(bench, &pod), 0);
	assign(pod, 1);
	assert_int_equal(pod_network_join(pod, bench->vmm.pidfd, &err), -EBUSY);
	assert_non_null(strstr(error_message(&err), "eth0"));
	pod_network_leave(pod, VM);
	in_pod(bench, "test -n \"$(tc qdisc show dev eth0 ingress)\"");
	pod_network_free(pod);
}

/* ---------------------------------------------------------------- by macvtap */

static const struct pod_network_machine machine = { .vmm_pidfd = -EBADF, .vm_id = VM };

static void skip_unless_macvtap(const struct bench *bench)
{
	_cleanup_free_ char *text = NULL;

	skip_unless_possible();
	text = xasprintf("--net=%s", bench->netns);
	if (spawn_and_wait(SPAWN_ARGV("nsenter", text, "ip", "link", "add", "link", "host", "name",
				      "probe", "type", "macvtap"),
			   NULL, NULL) == 0) {
		in_pod(bench, "ip link del probe");
		return;
	}
	print_message("this kernel has no macvtap: skipped\n");
	skip();
}

static struct pod_network *read_for_macvtap(const struct bench *bench, size_t waiting)
{
	_cleanup_(error_done) struct error err = {};
	struct pod_network *pod = NULL;

	if (pod_network_read(bench->netns, NETWORK_MACVTAP, &pod, &err) < 0 ||
	    pod_network_assign(pod, waiting, &err) < 0)
		fail_msg("%s", error_message(&err));
	return pod;
}

static int make_tap(const struct pod_network *pod, size_t card)
{
	_cleanup_(error_done) struct error err = {};
	int tap;

	if (pod_network_make_tap(pod, &machine, card, &tap, &err) < 0)
		fail_msg("%s", error_message(&err));
	return tap;
}

/* What the other end says of itself when it comes up. */
static void expect_frames(const struct bench *bench, int tap)
{
	struct pollfd frames = { .fd = tap, .events = POLLIN };
	char frame[2048];

	while (read(tap, frame, sizeof(frame)) > 0) /* of before */
		;
	in_pod(bench, "ip link set host down; ip link set host up");
	assert_int_equal(poll(&frames, 1, 10000), 1);
	assert_true(read(tap, frame, sizeof(frame)) > 14 + 10); /* with a header for offloads */
}

static void a_macvtap_is_made_and_left(void **state)
{
	struct bench *bench = *state;
	_cleanup_(error_done) struct error err = {};
	struct pod_network *second = NULL;
	_cleanup_close_ int tap = -EBADF;

	skip_unless_macvtap(bench);
	struct pod_network *pod = read_for_macvtap(bench, 1);
	assert_int_equal(pod_network_cards(pod), 2); /* what waits is not used */
	assert_string_equal(pod->interfaces->interfaces[0]->device, "kiln1");
	assert_int_equal(pod->routes->n_routes, 1); /* of the loopback nothing is told */
	tap = make_tap(pod, 1);
	assert_int_equal(pod_network_join(pod, bench->vmm.pidfd, &err), 0);
	assert_true(pod->is_joined[0]);
	in_pod(bench, "ip -d link show kiln1 | tr -d \"\\n\" |"
		      "grep \"ALLMULTI.*UP.* mtu 1450 .*macvtap mode passthru.*alias vm-1\";"
		      "test $(cat /proc/net/dev | grep -c kiln) = 1;"
		      "test -z \"$(ip -6 addr show dev kiln1)\";"
		      "ip -4 addr show dev eth0 | grep -q 10.1.0.2;"
		      "test \"$(ip -o link show eth0 | grep -o ether.*brd)\" = "
		      "\"$(ip -o link show kiln1 | grep -o ether.*brd)\"");
	expect_frames(bench, tap);
	assert_int_equal(try_read(bench, &second), -EBUSY);
	assert_int_equal(pod_network_make_tap(pod, &machine, 1, &tap, &err), -EEXIST);
	pod_network_leave(pod, "vm-2");
	in_pod(bench, "ip link show kiln1");
	pod_network_leave(pod, VM);
	in_pod(bench, "! ip link show kiln1");
	pod_network_free(pod);
}

static void what_has_a_macvtap_or_is_one_is_refused(void **state)
{
	struct bench *bench = *state;
	_cleanup_(error_done) struct error err = {};
	int tap;

	skip_unless_macvtap(bench);
	struct pod_network *pod = read_for_macvtap(bench, 0);
	in_pod(bench, "ip link add link eth0 name others type macvlan mode bridge");
	assert_int_equal(pod_network_make_tap(pod, &machine, 0, &tap, &err), -EBUSY);
	assert_non_null(strstr(error_message(&err), "internetworking_model tcfilter"));
	assert_int_equal(pod_network_make_tap(pod, &machine, 5, &tap, &err), -ENODEV);
	in_pod(bench, "! ip link show kiln0");
	assert_int_equal(pod_network_assign(pod, NETWORK_CARDS_MAX, &err), -EOPNOTSUPP);
	pod_network_free(pod);
}

/* A macvtap goes with its interface, so its card is of no more use. */
static void what_comes_later_gets_a_macvtap_of_its_own(void **state)
{
	struct bench *bench = *state;
	struct pod_network *pod, *now = NULL;

	skip_unless_macvtap(bench);
	pod = read_for_macvtap(bench, 1);
	close(make_tap(pod, 1));
	assert_int_equal(pod_network_join(pod, bench->vmm.pidfd, NULL), 0);
	note_told(pod);
	assert_int_equal(pod_network_read_again(pod, NETWORK_CARDS_MAX, &now, NULL), 0);
	assert_false(pod_network_has_changed(pod, now));
	pod_network_free(pod);
	in_pod(bench, "ip link del eth0; ip link add eth0 mtu 1400 type veth peer name host;"
		      "ip link set eth0 up; ! ip link show kiln1");
	assert_int_equal(pod_network_read_again(now, 3, &pod, NULL), 0);
	assert_true(pod_network_has_changed(now, pod));
	pod_network_free(now);
	assert_int_equal(pod->cards[0], 2);
	assert_string_equal(pod->interfaces->interfaces[0]->device, "kiln2");
	close(make_tap(pod, 2));
	assert_int_equal(pod_network_join(pod, bench->vmm.pidfd, NULL), 0);
	in_pod(bench, "ip link show kiln2 | grep \"mtu 1400\"");
	note_told(pod);
	in_pod(bench,
	       "ip link set eth0 mtu 1500; ip link add net1 type bridge; ip link set net1 up");
	assert_int_equal(pod_network_read_again(pod, 3, &now, NULL), 0);
	assert_int_equal(now->count, 1);
	assert_string_equal(now->left_out, "net1"); /* a third card has been all */
	assert_false(now->is_joined[0]);
	assert_int_equal(pod_network_join(now, bench->vmm.pidfd, NULL), 0);
	in_pod(bench, "ip link show kiln2 | grep \"mtu 1500\"");
	pod_network_free(now);
	pod_network_free(pod);
}

static void a_macvtap_of_a_killed_shim_goes(void **state)
{
	struct bench *bench = *state;

	skip_unless_macvtap(bench);
	struct pod_network *pod = read_for_macvtap(bench, 1);
	close(make_tap(pod, 1));
	pod_network_free(pod);
	pod_network_clean(bench->netns, "vm-2"); /* which is another machine's then */
	in_pod(bench, "ip link show kiln1");
	pod_network_clean(bench->netns, VM);
	in_pod(bench, "! ip link show kiln1");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_a_pod_has_is_told),
		TEST(address_without_its_route_has_all_its_bits),
		TEST(cards_go_by_the_names_they_have),
		TEST(what_a_machine_cannot_have_is_refused),
		TEST(joined_and_left),
		TEST(what_comes_later_gets_a_card),
		TEST(an_address_that_comes_later_is_told),
		TEST(a_change_can_be_heard_of),
		TEST(what_a_killed_shim_left_goes),
		TEST(others_queues_are_left_alone),
		TEST(a_macvtap_is_made_and_left),
		TEST(what_has_a_macvtap_or_is_one_is_refused),
		TEST(what_comes_later_gets_a_macvtap_of_its_own),
		TEST(a_macvtap_of_a_killed_shim_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
