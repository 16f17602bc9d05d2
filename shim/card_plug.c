#include "shim/card_plug.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "factory/guest/disks.h"
#include "factory/guest/network_cards.h"
#include "factory/jail/tap.h"
#include "proto/guest.pb-c.h"

enum { QMP_TIMEOUT_MS = 10000, FIND_TIMEOUT_MS = 20000 };

/* In QEMU's order; the second one is for vhost-net only. */
enum { COMMAND_TAP, COMMAND_VHOST_NET, COMMAND_NETDEV, COMMAND_DEVICE, COMMANDS };

static const char *const card_plug_state_names[] = {
	[CARD_PLUG_MAKING] = "making",
	[CARD_PLUG_PLUGGING] = "plugging",
	[CARD_PLUG_SEEKING] = "seeking",
	[CARD_PLUG_ENDED] = "ended",
};
DEFINE_STRING_TABLE(card_plug_state, enum card_plug_state, card_plug_state_names)

static const unsigned card_plug_next[] = {
	[CARD_PLUG_MAKING] = STATE(CARD_PLUG_PLUGGING) | STATE(CARD_PLUG_ENDED),
	[CARD_PLUG_PLUGGING] = STATE(CARD_PLUG_SEEKING) | STATE(CARD_PLUG_ENDED),
	[CARD_PLUG_SEEKING] = STATE(CARD_PLUG_MAKING) | STATE(CARD_PLUG_ENDED),
	[CARD_PLUG_ENDED] = 0,
};
const struct state_machine card_plug_states = STATE_MACHINE("card", card_plug_state_names,
							    card_plug_next);

struct card_plug {
	struct card_plug_options options; /* `have` counts up */
	enum card_plug_state state;
	int tap, vhost_net; /* MAKING: the worker's; owned */
	struct error error;
	struct qmp_pending *commands[COMMANDS]; /* NULL: answered */
	struct agent_call *find;                /* in SEEKING */
	bool is_cancelled;                      /* freed once the worker is done */
};

static void set_state(struct card_plug *plug, enum card_plug_state state)
{
	_cleanup_free_ char *object = xasprintf("%s card %zu", plug->options.sandbox_id,
						plug->options.have);

	state_change(&card_plug_states, object, plug->state, state);
	plug->state = state;
}

static void cancel_commands(struct card_plug *plug)
{
	for (size_t i = 0; i < COMMANDS; i++)
		qmp_pending_cancel(steal_ptr(plug->commands[i]));
}

static void plug_free(struct card_plug *plug)
{
	cancel_commands(plug);
	agent_call_cancel(plug->find);
	close_fd(plug->tap);
	close_fd(plug->vhost_net);
	error_done(&plug->error);
	free(plug);
}

static void end(struct card_plug *plug)
{
	set_state(plug, CARD_PLUG_ENDED);
	if (plug->error.number)
		(void)error_wrap(&plug->error, "cannot plug in a network card (%zu)",
				 plug->options.have);
	plug->options.fn(plug->options.have, &plug->error, plug->options.userdata);
	plug_free(plug);
}

/* ---------------------------------------------------------------- the guest */

static void make(struct card_plug *plug);

static void on_found(const struct ttrpc_reply *reply, void *userdata)
{
	struct card_plug *plug = userdata;

	plug->find = NULL;
	if (reply->code != TTRPC_OK) {
		(void)error_set(&plug->error, ETIMEDOUT, "the guest does not see it: %s",
				reply->message);
		end(plug);
		return;
	}
	log_info(plug->options.sandbox_id, "network card %zu is plugged in", plug->options.have);
	if (++plug->options.have == plug->options.want) {
		end(plug);
		return;
	}
	set_state(plug, CARD_PLUG_MAKING);
	make(plug);
}

static void find(struct card_plug *plug)
{
	Kiln__Guest__V1__FindCardRequest request = KILN__GUEST__V1__FIND_CARD_REQUEST__INIT;
	_cleanup_free_ char *mac = xasprintf(NETWORK_CARD_PLUGGED_MAC, plug->options.have);
	_cleanup_free_ char *name = xasprintf(NETWORK_CARD_PLUGGED, plug->options.have);

	set_state(plug, CARD_PLUG_SEEKING);
	request.hw_addr = mac;
	request.name = name;
	plug->find = agent_call_service(plug->options.agent, &kiln__guest__v1__guest__descriptor,
					"FindCard", &request.base, FIND_TIMEOUT_MS, on_found, plug);
}

/* ---------------------------------------------------------------- QEMU */

/* QEMU takes them in their order, and each fails where one before has: the last one's answer
 * decides, the first one's reason is told. */
static void on_answer(struct card_plug *plug, size_t command, int number, const struct error *err)
{
	plug->commands[command] = NULL;
	if (number < 0 && !plug->error.number)
		(void)error_set(&plug->error, -number, "%s", error_message(err));
	if (command != COMMAND_DEVICE)
		return;
	cancel_commands(plug);
	if (plug->error.number)
		end(plug);
	else
		find(plug);
}

static void on_tap(int number, json_t *result _unused_, const struct error *err, void *userdata)
{
	on_answer(userdata, COMMAND_TAP, number, err);
}

static void on_vhost_net(int number, json_t *result _unused_, const struct error *err,
			 void *userdata)
{
	on_answer(userdata, COMMAND_VHOST_NET, number, err);
}

static void on_netdev(int number, json_t *result _unused_, const struct error *err, void *userdata)
{
	on_answer(userdata, COMMAND_NETDEV, number, err);
}

static void on_device(int number, json_t *result _unused_, const struct error *err, void *userdata)
{
	on_answer(userdata, COMMAND_DEVICE, number, err);
}

/* qmp_command_fds() takes the descriptor. */
static struct qmp_pending *give_fd(struct card_plug *plug, struct qmp *qmp, const char *name,
				   int *fd, qmp_reply_fn fn)
{
	int given = steal_fd(fd);

	return qmp_command_fds(qmp, "getfd", json_pack("{s:s}", "fdname", name), &given, 1,
			       QMP_TIMEOUT_MS, fn, plug);
}

static void send_commands(struct card_plug *plug, struct qmp *qmp, unsigned slot)
{
	_cleanup_free_ char *tap = xasprintf(NETWORK_CARD_TAP, plug->options.have);
	_cleanup_free_ char *device = xasprintf(NETWORK_CARD_DEVICE, plug->options.have);
	_cleanup_free_ char *mac = xasprintf(NETWORK_CARD_PLUGGED_MAC, plug->options.have);
	_cleanup_free_ char *place = xasprintf("0x%x", slot);
	bool has_vhost_net = plug->vhost_net >= 0;
	_cleanup_free_ char *vhost_net = has_vhost_net ? xasprintf("vhost-%s", tap) : NULL;

	plug->commands[COMMAND_TAP] = give_fd(plug, qmp, tap, &plug->tap, on_tap);
	if (has_vhost_net)
		plug->commands[COMMAND_VHOST_NET] = give_fd(plug, qmp, vhost_net, &plug->vhost_net,
							    on_vhost_net);
	plug->commands[COMMAND_NETDEV] = qmp_command(qmp, "netdev_add",
						     json_pack("{s:s, s:s, s:s, s:b, s:s*}", "type",
							       "tap", "id", tap, "fd", tap, "vhost",
							       has_vhost_net, "vhostfd", vhost_net),
						     QMP_TIMEOUT_MS, on_netdev, plug);
	plug->commands[COMMAND_DEVICE] = qmp_command(
		qmp, "device_add",
		json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "driver", "virtio-net-pci", "id",
			  device, "netdev", tap, "mac", mac, "romfile", "", "bus", DISKS_BRIDGE,
			  "addr", place),
		QMP_TIMEOUT_MS, on_device, plug);
}

static int plug_in(struct card_plug *plug)
{
	struct qmp *qmp = slots_monitor(plug->options.slots);
	unsigned place = qmp ? disks_lend_place(plug->options.disks) : 0;

	if (!qmp)
		return error_set(&plug->error, ENOTCONN, "the machine's monitor is gone");
	if (place == 0)
		return error_set(&plug->error, EAGAIN,
				 "disks have taken all %d slots of the machine's bridge",
				 DISKS_PLUGGED_MAX);
	set_state(plug, CARD_PLUG_PLUGGING);
	send_commands(plug, qmp, place);
	return 0;
}

/* ---------------------------------------------------------------- the tap */

static void make_tap(void *data)
{
	struct card_plug *plug = data;

	int r = plug->options.make(plug->options.have, plug->options.userdata, &plug->tap,
				   &plug->error);
	if (r == 0 && plug->options.vhost_net)
		(void)!vhost_net_open(&plug->vhost_net, &plug->error);
}

static void on_made(void *data, _unused_ void *owner)
{
	struct card_plug *plug = data;

	if (plug->is_cancelled)
		plug_free(plug);
	else if (plug->error.number || plug_in(plug) < 0)
		end(plug);
}

static void make(struct card_plug *plug)
{
	const struct worker_job job = { .run = make_tap, .done = on_made, .data = plug };

	if (worker_submit(plug->options.pool, &job) < 0)
		abort();
}

struct card_plug *card_plug_new(const struct card_plug_options *options)
{
	struct card_plug *plug = xnew(struct card_plug);

	plug->options = *options;
	plug->state = CARD_PLUG_MAKING;
	plug->tap = plug->vhost_net = -EBADF;
	make(plug);
	return plug;
}

void card_plug_cancel(struct card_plug *plug)
{
	if (!plug)
		return;
	if (plug->state == CARD_PLUG_MAKING)
		plug->is_cancelled = true;
	else
		plug_free(plug);
}
