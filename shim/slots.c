#include "shim/slots.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"
#include "factory/vm/disks.h"

enum { ATTACH_TIMEOUT_MS = 5000 };

static const char *const slot_state_names[] = {
	[SLOT_EMPTY] = "empty",
	[SLOT_ATTACHING] = "attaching",
	[SLOT_HOLDING] = "holding",
};
DEFINE_STRING_TABLE(slot_state, enum slot_state, slot_state_names)

/* Who has called slots_attach() and not been called back. */
struct waiter {
	TAILQ_ENTRY(waiter) link;
	slots_fn fn;
	void *userdata;
};

struct slot {
	struct slots *slots; /* whose it is */
	enum slot_state state;
	char key[DIGEST_HEX_SIZE]; /* not in EMPTY */
	unsigned users;            /* those who wait included */
	unsigned node;             /* number of the image's node in QEMU; 0: none of ours */
	unsigned old_node;         /* in ATTACHING: of the image that was there before */
	struct error error;        /* in ATTACHING: the first that QEMU said; owned */
	bool added;                /* in ATTACHING: QEMU has the node */
	TAILQ_HEAD(waiter_list, waiter) waiters; /* in ATTACHING, and until they are told */
};

struct slots {
	struct loop *loop;
	struct qmp *qmp; /* NULL once it is lost */
	char *sandbox_id;
	unsigned next_node;
	unsigned refs;
	bool closed; /* answers that come now are of nobody's interest */
	struct slot items[DISKS_SLOTS_MAX];
	size_t count;
};

static size_t number_of(const struct slot *slot)
{
	return (size_t)(slot - slot->slots->items);
}

static void set_state(struct slot *slot, enum slot_state state)
{
	log_debug(slot->slots->sandbox_id, "slot %zu: %s -> %s (%.12s)", number_of(slot),
		  slot_state_to_string(slot->state), slot_state_to_string(state), slot->key);
	slot->state = state;
}

/* ---------------------------------------------------------------- QEMU */

static void tell_waiters(void *userdata)
{
	_cleanup_(error_done) struct error err = {};
	struct slot *slot = userdata;
	struct waiter *waiter;

	if (slot->slots->closed)
		return;
	error_move(&err, &slot->error);
	if (err.number)
		slot->users = 0;
	while ((waiter = TAILQ_FIRST(&slot->waiters))) {
		TAILQ_REMOVE(&slot->waiters, waiter, link);
		waiter->fn(err.number ? -err.number : (int)number_of(slot), &err, waiter->userdata);
		free(waiter);
	}
}

static void on_command(int number, json_t *result _unused_, const struct error *err, void *userdata)
{
	struct slot *slot = userdata;

	if (number < 0 && !slot->error.number)
		(void)error_set(&slot->error, -number, "%s", error_message(err));
}

static void on_added(int number, json_t *result, const struct error *err, void *userdata)
{
	struct slot *slot = userdata;

	slot->added = number >= 0;
	on_command(number, result, err, slot);
}

static char *node_name(unsigned node)
{
	return xasprintf("image%u", node);
}

/* What was on the slot before is closed, and so is its descriptor. */
static void remove_node(struct slots *slots, unsigned node)
{
	_cleanup_free_ char *name = node_name(node);

	if (node == 0)
		return;
	qmp_command(slots->qmp, "blockdev-del", json_pack("{s:s}", "node-name", name), 0, NULL,
		    NULL);
	qmp_command(slots->qmp, "remove-fd", json_pack("{s:i}", "fdset-id", (int)node), 0, NULL,
		    NULL);
}

/* The last command's answer: the image is on the slot, or one of them was refused. */
static void on_reopened(int number, json_t *result, const struct error *err, void *userdata)
{
	struct slot *slot = userdata;
	struct slots *slots = slot->slots;

	on_command(number, result, err, slot);
	if (slots->closed)
		return;
	if (slot->error.number) {
		log_warning(slots->sandbox_id, "slot %zu did not take image %.12s: %s",
			    number_of(slot), slot->key, error_message(&slot->error));
		if (slot->added)
			remove_node(slots, slot->node);
		slot->node = slot->old_node;
		set_state(slot, SLOT_EMPTY);
	} else {
		remove_node(slots, slot->old_node);
		set_state(slot, SLOT_HOLDING);
	}
	tell_waiters(slot);
}

/* All commands at once: QEMU takes them in order, and the last one fails where one before has. */
static void send_commands(struct slot *slot, int fd)
{
	struct qmp *qmp = slot->slots->qmp;
	_cleanup_free_ char *image = node_name(slot->node);
	_cleanup_free_ char *node = xasprintf(DISKS_SLOT_NODE, number_of(slot));
	_cleanup_free_ char *path = xasprintf("/dev/fdset/%u", slot->node);

	qmp_command_fds(qmp, "add-fd", json_pack("{s:i}", "fdset-id", (int)slot->node), &fd, 1,
			ATTACH_TIMEOUT_MS, on_command, slot);
	qmp_command(qmp, "blockdev-add",
		    json_pack("{s:s, s:s, s:s, s:b, s:s}", "driver", "file", "node-name", image,
			      "filename", path, "read-only", 1, "locking", "off"),
		    ATTACH_TIMEOUT_MS, on_added, slot);
	qmp_command(qmp, "blockdev-reopen",
		    json_pack("{s:[{s:s, s:s, s:b, s:s}]}", "options", "driver", "raw", "node-name",
			      node, "read-only", 1, "file", image),
		    ATTACH_TIMEOUT_MS, on_reopened, slot);
}

static void on_monitor_end(struct qmp *qmp, int reason, void *userdata)
{
	struct slots *slots = userdata;

	log_info(slots->sandbox_id, "the machine's monitor is gone: %s", strerror(-reason));
	slots->qmp = NULL;
	qmp_free(qmp);
}

/* ---------------------------------------------------------------- slots */

static struct slot *find_holder(struct slots *slots, const char *key)
{
	for (size_t i = 0; i < slots->count; i++)
		if (slots->items[i].state != SLOT_EMPTY && str_equal(slots->items[i].key, key))
			return &slots->items[i];
	return NULL;
}

/* An empty one before one with an image that nobody uses. */
static struct slot *find_free(struct slots *slots)
{
	struct slot *unused = NULL;

	for (size_t i = 0; i < slots->count; i++) {
		struct slot *slot = &slots->items[i];
		if (slot->state == SLOT_EMPTY && TAILQ_EMPTY(&slot->waiters))
			return slot;
		if (slot->state == SLOT_HOLDING && slot->users == 0)
			unused = slot;
	}
	return unused;
}

/* Where there is no slot, or no monitor any more. */
struct refusal {
	slots_fn fn;
	void *userdata;
	struct error error;
};

static void tell_refused(void *userdata)
{
	struct refusal *refusal = userdata;

	refusal->fn(-refusal->error.number, &refusal->error, refusal->userdata);
	error_done(&refusal->error);
	free(refusal);
}

static void refuse(struct slots *slots, slots_fn fn, void *userdata)
{
	struct refusal *refusal = xnew(struct refusal);

	refusal->fn = fn;
	refusal->userdata = userdata;
	if (slots->qmp)
		(void)error_set(&refusal->error, EBUSY, "all %zu slots are taken", slots->count);
	else
		(void)error_set(&refusal->error, ENOTCONN, "the machine's monitor is gone");
	loop_defer(slots->loop, tell_refused, refusal);
}

static void add_waiter(struct slot *slot, slots_fn fn, void *userdata)
{
	struct waiter *waiter = xnew(struct waiter);

	waiter->fn = fn;
	waiter->userdata = userdata;
	TAILQ_INSERT_TAIL(&slot->waiters, waiter, link);
	slot->users++;
}

void slots_attach(struct slots *slots, const char *key, int fd, slots_fn fn, void *userdata)
{
	_cleanup_close_ int image = fd;
	struct slot *slot = find_holder(slots, key);

	if (slot) {
		add_waiter(slot, fn, userdata);
		if (slot->state == SLOT_HOLDING)
			loop_defer(slots->loop, tell_waiters, slot);
		return;
	}
	slot = slots->qmp ? find_free(slots) : NULL;
	if (!slot) {
		refuse(slots, fn, userdata);
		return;
	}
	memcpy(slot->key, key, sizeof(slot->key));
	slot->added = false;
	slot->old_node = slot->node;
	slot->node = ++slots->next_node;
	set_state(slot, SLOT_ATTACHING);
	add_waiter(slot, fn, userdata);
	send_commands(slot, steal_fd(&image));
}

void slots_release(struct slots *slots, size_t slot)
{
	slots->items[slot].users--;
}

struct slots *slots_new(struct loop *loop, int qmp_fd, size_t count, const char *sandbox_id)
{
	struct slots *slots = xnew(struct slots);
	const struct qmp_options options = { .on_end = on_monitor_end, .userdata = slots };

	slots->refs = 1;
	slots->loop = loop;
	slots->sandbox_id = xstrdup(sandbox_id);
	slots->count = count < DISKS_SLOTS_MAX ? count : DISKS_SLOTS_MAX;
	for (size_t i = 0; i < slots->count; i++) {
		slots->items[i].slots = slots;
		TAILQ_INIT(&slots->items[i].waiters);
	}
	slots->qmp = qmp_new(loop, qmp_fd, &options);
	return slots;
}

struct qmp *slots_monitor(const struct slots *slots)
{
	return slots->qmp;
}

static void cancel_waiters(struct slot *slot)
{
	_cleanup_(error_done) struct error err = {};
	struct waiter *waiter;

	(void)error_set(&err, ECANCELED, "the machine is being released");
	while ((waiter = TAILQ_FIRST(&slot->waiters))) {
		TAILQ_REMOVE(&slot->waiters, waiter, link);
		waiter->fn(-ECANCELED, &err, waiter->userdata);
		free(waiter);
	}
}

/* Calls that are deferred already come before the last one. */
static void free_slots(void *userdata)
{
	struct slots *slots = userdata;

	for (size_t i = 0; i < slots->count; i++)
		error_done(&slots->items[i].error);
	free(slots->sandbox_id);
	free(slots);
}

struct slots *slots_ref(struct slots *slots)
{
	slots->refs++;
	return slots;
}

void slots_unref(struct slots *slots)
{
	if (slots && --slots->refs == 0)
		loop_defer(slots->loop, free_slots, slots);
}

void slots_close(struct slots *slots)
{
	if (!slots)
		return;
	slots->closed = true;
	qmp_free(steal_ptr(slots->qmp));
	for (size_t i = 0; i < slots->count; i++)
		cancel_waiters(&slots->items[i]);
	slots_unref(slots);
}
