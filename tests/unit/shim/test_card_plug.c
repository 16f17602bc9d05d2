/* Network cards that are plugged into a real QEMU, in a network namespace of its own, whose guest's
 * agent is scripted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/socket.h"
#include "base/spawn.h"
#include "base/strbuf.h"
#include "factory/guest/disks.h"
#include "factory/jail/tap.h"
#include "proto/guest.pb-c.h"
#include "proto/network.h"
#include "proto/ttrpc_server.h"
#include "shim/card_plug.h"
#include "shim/netns.h"

#define QEMU "/usr/bin/qemu-system-x86_64"

enum { DEADLINE_MS = 20000, HAVE = 1 };

struct bench {
	struct loop *loop;
	struct worker_pool *pool;
	pid_t pid;
	int pidfd;
	struct slots *slots;
	struct ttrpc_client *client;
	struct agent_link *agent;
	struct ttrpc_server *guest;
	struct disks *disks;
	struct strbuf finds;  /* "MAC=NAME ..." */
	const char *blind_to; /* a name that the guest does not find */
	bool holds;           /* it does not answer */
	bool vhost_net;
	struct ttrpc_call *held; /* owned */
	bool is_asked;           /* it was */
	/* of the last */
	struct card_plug *plug;
	bool done;
	size_t have;
	int number;
	char *why;
	struct disk *disk;
};

static const char *skip_reason;

static void on_find(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Kiln__Guest__V1__FindCardRequest *request = (const void *)message;
	Kiln__Guest__V1__FindCardResponse response = KILN__GUEST__V1__FIND_CARD_RESPONSE__INIT;
	struct bench *bench = userdata;

	bench->is_asked = true;
	strbuf_addf(&bench->finds, "%s%s=%s", bench->finds.len ? " " : "", request->hw_addr,
		    request->name);
	if (bench->holds)
		bench->held = call;
	else if (str_equal(request->name, bench->blind_to))
		ttrpc_call_fail_code(call, TTRPC_DEADLINE_EXCEEDED, "scripted");
	else
		ttrpc_call_reply(call, &response.base);
}

static void on_find_disk(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
			 void *userdata _unused_)
{
	Kiln__Guest__V1__FindDiskResponse response = KILN__GUEST__V1__FIND_DISK_RESPONSE__INIT;

	ttrpc_call_reply(call, &response.base);
}

static const struct ttrpc_method methods[] = { { "FindCard", on_find },
					       { "FindDisk", on_find_disk } };
static const struct ttrpc_service service = { &kiln__guest__v1__guest__descriptor, methods,
					      ARRAY_SIZE(methods) };

static void start_guest(struct bench *bench)
{
	const struct ttrpc_server_options options = { .userdata = bench };
	struct ttrpc_conn *conn;
	int pair[2];

	assert_int_equal(socket_pair(pair), 0);
	bench->guest = ttrpc_server_new(bench->loop, &options);
	ttrpc_server_add(bench->guest, &service);
	assert_int_equal(ttrpc_server_serve(bench->guest, pair[0], false, &conn), 0);
	bench->client = ttrpc_client_new(bench->loop, pair[1], NULL);
	bench->agent = agent_link_new(bench->loop, bench->client, NULL, NULL);
}

static int leave_network(void *data _unused_, const char **ret_what)
{
	*ret_what = "no network namespace";
	return unshare(CLONE_NEWNET) < 0 ? -errno : 0;
}

static int start_qemu(struct bench *bench, const char *bridge)
{
	int monitor[2];

	assert_int_equal(socket_pair(monitor), 0);
	const struct spawn_fd fds[] = { { monitor[1], 3 } };
	const struct spawn_options options = {
		.argv = SPAWN_ARGV(QEMU, "-machine", "q35", "-accel", "tcg", "-nodefaults",
				   "-display", "none", "-S", "-device", bridge, "-chardev",
				   "socket,id=m,fd=3", "-mon", "chardev=m,mode=control"),
		.fds = fds,
		.nfds = ARRAY_SIZE(fds),
		.in_child = leave_network,
	};
	assert_int_equal(spawn(&options, &bench->pid, &bench->pidfd, NULL), 0);
	close(monitor[1]);
	return monitor[0];
}

static void start(struct bench *bench, const char *bridge)
{
	bench->loop = loop_new();
	bench->pool = worker_pool_new(bench->loop, 1, 2);
	start_guest(bench);
	bench->slots = slots_new(bench->loop, start_qemu(bench, bridge), 0, "pod-1");
	bench->disks = disks_new(bench->loop, bench->slots, bench->agent, "pod-1");
}

static int setup(void **state)
{
	struct bench *bench = xnew(struct bench);

	*state = bench;
	if (geteuid() != 0 || access("/dev/net/tun", W_OK) < 0)
		skip_reason = "needs root and /dev/net/tun";
	else
		start(bench, "pcie-pci-bridge,id=" DISKS_BRIDGE ",bus=pcie.0,addr=0xf");
	return 0;
}

static int setup_without_bridge(void **state)
{
	struct bench *bench = xnew(struct bench);

	*state = bench;
	if (!skip_reason)
		start(bench, "pcie-pci-bridge,id=other,bus=pcie.0,addr=0xf");
	return 0;
}

static void stop(struct bench *bench)
{
	int status;

	worker_pool_free(bench->pool);
	disks_close(bench->disks);
	slots_close(bench->slots);
	if (bench->held)
		ttrpc_call_drop(bench->held);
	agent_link_free(bench->agent);
	ttrpc_client_free(bench->client);
	ttrpc_server_free(bench->guest);
	kill(bench->pid, SIGKILL);
	waitpid(bench->pid, &status, 0);
	close(bench->pidfd);
	loop_free(bench->loop);
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	if (bench->loop)
		stop(bench);
	strbuf_done(&bench->finds);
	free(bench->why);
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

static void on_end(size_t have, const struct error *err, void *userdata)
{
	struct bench *bench = userdata;

	assert_false(bench->done);
	bench->done = true;
	bench->have = have;
	bench->number = err->number;
	replace_string(&bench->why, err->number ? error_message(err) : "");
}

static int make(size_t card, void *userdata, int *ret_tap, struct error *err)
{
	const struct bench *bench = userdata;

	return netns_tap(bench->pidfd, card, ret_tap, err);
}

static void begin(struct bench *bench, size_t want)
{
	bench->plug = card_plug_new(&(struct card_plug_options){
		.pool = bench->pool,
		.slots = bench->slots,
		.disks = bench->disks,
		.agent = bench->agent,
		.sandbox_id = "pod-1",
		.have = HAVE,
		.want = want,
		.vhost_net = bench->vhost_net,
		.make = make,
		.fn = on_end,
		.userdata = bench,
	});
	assert_false(bench->done);
}

static int plug(struct bench *bench, size_t want)
{
	begin(bench, want);
	assert_true(loop_run_until(bench->loop, &bench->done, DEADLINE_MS));
	return -bench->number;
}

/* In the VMM's namespace. */
static bool has_tap(const struct bench *bench, const char *name)
{
	_cleanup_(network_done) struct network network = {};
	_cleanup_close_ int fd = -EBADF;

	assert_int_equal(netns_netlink(bench->pidfd, &fd, NULL), 0);
	assert_int_equal(network_read_parts(fd, NETWORK_LINKS, &network, NULL), 0);
	return network_find(&network, name) != NULL;
}

static void one_comes_after_another(void **state)
{
	struct bench *bench = *state;

	skip_unless_possible();
	assert_int_equal(plug(bench, 3), 0);
	assert_int_equal(bench->have, 3);
	assert_string_equal(strbuf_text(&bench->finds),
			    "02:6b:69:6c:63:01=kiln1 02:6b:69:6c:63:02=kiln2");
	assert_true(has_tap(bench, "kiln1") && has_tap(bench, "kiln2"));
	assert_false(has_tap(bench, "kiln0") || has_tap(bench, "kiln3"));
	assert_int_equal(disks_lend_place(bench->disks), 3);
}

/* Where the host has vhost-net QEMU takes it; else the reason is told. */
static void one_may_have_vhost_net(void **state)
{
	struct bench *bench = *state;
	_cleanup_close_ int fd = -EBADF;

	skip_unless_possible();
	bench->vhost_net = true;
	if (vhost_net_open(&fd, NULL) == 0) {
		assert_int_equal(plug(bench, 2), 0);
		return;
	}
	assert_true(plug(bench, 2) < 0);
	assert_int_equal(bench->have, HAVE);
	assert_non_null(strstr(bench->why, "modprobe vhost_net"));
	assert_false(bench->is_asked || has_tap(bench, "kiln1"));
}

static void on_attached(int number _unused_, struct disk *disk, const struct error *err,
			void *userdata)
{
	struct bench *bench = userdata;

	on_end(0, err, bench);
	bench->disk = disk;
}

static void on_out(void *userdata)
{
	struct bench *bench = userdata;

	bench->done = true;
}

/* QEMU would not have two on one slot. */
static void disks_have_other_slots(void **state)
{
	struct bench *bench = *state;
	int fd = memfd_create("disk", 0);
	_cleanup_free_ char *path = xasprintf("/proc/self/fd/%d", fd);

	skip_unless_possible();
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	assert_int_equal(plug(bench, HAVE + 1), 0);
	bench->done = false;
	disks_attach(bench->disks, path, false, on_attached, bench);
	assert_true(loop_run_until(bench->loop, &bench->done, DEADLINE_MS));
	assert_string_equal(bench->why, "");
	bench->done = false;
	disk_release(bench->disk, on_out, bench); /* which the guest does not let go */
	assert_true(loop_run_until(bench->loop, &bench->done, DEADLINE_MS));
	close(fd);
}

static void what_the_guest_does_not_see_is_told(void **state)
{
	struct bench *bench = *state;

	skip_unless_possible();
	bench->blind_to = "kiln2";
	assert_int_equal(plug(bench, 4), -ETIMEDOUT);
	assert_int_equal(bench->have, 2);
	assert_string_equal(
		bench->why,
		"cannot plug in a network card (2): the guest does not see it: scripted");
}

static void what_qemu_refuses_is_told(void **state)
{
	struct bench *bench = *state;

	skip_unless_possible();
	assert_int_equal(plug(bench, 2), -EIO);
	assert_int_equal(bench->have, HAVE);
	assert_non_null(strstr(bench->why, "Bus 'disks' not found"));
	assert_false(bench->is_asked);
}

static void the_bridge_may_be_full(void **state)
{
	struct bench *bench = *state;

	skip_unless_possible();
	for (unsigned i = 1; i <= DISKS_PLUGGED_MAX; i++)
		assert_int_equal(disks_lend_place(bench->disks), i);
	assert_int_equal(disks_lend_place(bench->disks), 0);
	assert_int_equal(plug(bench, 2), -EAGAIN);
	assert_non_null(strstr(bench->why, "disks have taken all 31 slots"));
}

/* The tap is made then, and QEMU asked. */
static void end_jobs(struct bench *bench)
{
	worker_pool_free(bench->pool);
	bench->pool = worker_pool_new(bench->loop, 1, 2);
}

static void a_monitor_that_is_gone_is_told(void **state)
{
	struct bench *bench = *state;

	skip_unless_possible();
	kill(bench->pid, SIGSTOP);
	begin(bench, 2);
	end_jobs(bench);
	kill(bench->pid, SIGKILL);
	assert_true(loop_run_until(bench->loop, &bench->done, DEADLINE_MS));
	assert_int_equal(bench->number, ENOTCONN);
}

static void turn(struct bench *bench)
{
	bool never = false;

	(void)loop_run_until(bench->loop, &never, 1);
}

/* While the tap is made, and while QEMU, which is stopped, is asked. */
static void one_that_is_cancelled_says_nothing(void **state)
{
	struct bench *bench = *state;

	skip_unless_possible();
	begin(bench, 2);
	card_plug_cancel(bench->plug);
	end_jobs(bench);
	assert_false(has_tap(bench, "kiln1"));
	kill(bench->pid, SIGSTOP);
	begin(bench, 2);
	end_jobs(bench);
	assert_true(has_tap(bench, "kiln1"));
	card_plug_cancel(bench->plug);
	kill(bench->pid, SIGCONT);
	turn(bench);
	assert_false(bench->is_asked || bench->done);
	card_plug_cancel(NULL);
}

static void nor_does_one_that_the_guest_looks_for(void **state)
{
	struct bench *bench = *state;

	skip_unless_possible();
	bench->holds = true;
	begin(bench, 2);
	assert_true(loop_run_until(bench->loop, &bench->is_asked, DEADLINE_MS));
	card_plug_cancel(bench->plug);
	turn(bench);
	assert_false(bench->done);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_comes_after_another, setup, teardown),
		cmocka_unit_test_setup_teardown(one_may_have_vhost_net, setup, teardown),
		cmocka_unit_test_setup_teardown(disks_have_other_slots, setup, teardown),
		cmocka_unit_test_setup_teardown(what_the_guest_does_not_see_is_told, setup,
						teardown),
		cmocka_unit_test_setup_teardown(what_qemu_refuses_is_told, setup_without_bridge,
						teardown),
		cmocka_unit_test_setup_teardown(the_bridge_may_be_full, setup, teardown),
		cmocka_unit_test_setup_teardown(a_monitor_that_is_gone_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(one_that_is_cancelled_says_nothing, setup,
						teardown),
		cmocka_unit_test_setup_teardown(nor_does_one_that_the_guest_looks_for, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
