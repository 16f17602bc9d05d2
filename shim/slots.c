#include "shim/slots.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "base/waiters.h"
#include "factory/guest/disks.h"

enum { ATTACH_TIMEOUT_MS = 5000, SECTOR = 512 };

static const char *const slot_state_names[] = {
	[SLOT_EMPTY] = "empty",
	[SLOT_ATTACHING] = "attaching",
	[SLOT_HOLDING] = "holding",
};
DEFINE_STRING_TABLE(slot_state, enum slot_state, slot_state_names)

static const unsigned slot_next[] = {
	[SLOT_EMPTY] = STATE(SLOT_ATTACHING),
	[SLOT_ATTACHING] = STATE(SLOT_EMPTY) | STATE(SLOT_HOLDING),
	[SLOT_HOLDING] = STATE(SLOT_ATTACHING),
};
const struct state_machine slot_states = STATE_MACHINE("slot", slot_state_names, slot_next);

/* An image in QEMU: its node's number, which is that of its first set of descriptors, too. */
struct node {
	unsigned number; /* 0: none of ours */
	unsigned fdsets; /* how many, each of one descriptor */
};

struct slot {
	struct slots *slots; /* whose it is */
	enum slot_state state;
	char key[DIGEST_HEX_SIZE]; /* not in EMPTY */
	unsigned users;            /* those who wait included */
	struct node node;          /* the image's in QEMU */
	struct node old_node;      /* in ATTACHING: of the image that was there before */
	struct error error;        /* in ATTACHING: the first that QEMU said; owned */
	bool added;                /* in ATTACHING: QEMU has the node */
	struct waiters waiters;    /* in ATTACHING, and until they are told */
};

struct slots {
	struct loop *loop;
	struct qmp *qmp; /* NULL once it is lost */
	char *sandbox_id;
	unsigned last_node; /* the highest number of a node or a set of descriptors */
	unsigned refs;
	bool closed; /* answers that come now are of nobody's interest */
	void (*on_event)(const char *event, json_t *data, void *userdata); /* NULL: nobody */
	void *event_userdata;
	struct slot items[DISKS_SLOTS_MAX];
	size_t count;
};

static size_t number_of(const struct slot *slot)
{
	return (size_t)(slot - slot->slots->items);
}

static void set_state(struct slot *slot, enum slot_state state)
{
	_cleanup_free_ char *object = xasprintf("%s slot %zu (%.12s)", slot->slots->sandbox_id,
						number_of(slot), slot->key);

	state_change(&slot_states, object, slot->state, state);
	slot->state = state;
}

/* ---------------------------------------------------------------- QEMU */

static void tell_waiters(void *userdata)
{
	_cleanup_(error_done) struct error err = {};
	struct slot *slot = userdata;

	if (slot->slots->closed)
		return;
	error_move(&err, &slot->error);
	if (err.number)
		slot->users = 0;
	waiters_answer(&slot->waiters, err.number ? -err.number : (int)number_of(slot), &err);
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

/* The end of the machine is no failure. */
static void on_removed(int number, json_t *result _unused_, const struct error *err, void *userdata)
{
	const struct slots *slots = userdata;

	if (number < 0 && number != -ECANCELED)
		log_warning(slots->sandbox_id, "%s", error_message(err));
}

/* What was on the slot before is closed, and so are its descriptors. */
static void remove_node(struct slots *slots, const struct node *node, bool was_added)
{
	_cleanup_free_ char *name = node_name(node->number);

	if (was_added && node->number)
		qmp_command(slots->qmp, "blockdev-del", json_pack("{s:s}", "node-name", name), 0,
			    on_removed, slots);
	for (unsigned i = 0; i < node->fdsets; i++)
		qmp_command(slots->qmp, "remove-fd",
			    json_pack("{s:i}", "fdset-id", (int)(node->number + i)), 0, on_removed,
			    slots);
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
		remove_node(slots, &slot->node, slot->added);
		slot->node = slot->old_node;
		set_state(slot, SLOT_EMPTY);
	} else {
		remove_node(slots, &slot->old_node, true);
		set_state(slot, SLOT_HOLDING);
	}
	tell_waiters(slot);
}

static void add_fd(struct slot *slot, int fd)
{
	unsigned fdset = slot->node.number + slot->node.fdsets++;

	qmp_command_fds(slot->slots->qmp, "add-fd", json_pack("{s:i}", "fdset-id", (int)fdset), &fd,
			1, ATTACH_TIMEOUT_MS, on_command, slot);
}

/* A file node of the node's first set of descriptors, with its options for blockdev-add. */
static json_t *file_node(const struct slot *slot)
{
	_cleanup_free_ char *path = xasprintf("/dev/fdset/%u", slot->node.number);

	return json_pack("{s:s, s:s, s:b, s:s}", "driver", "file", "filename", path, "read-only", 1,
			 "locking", "off");
}

/* One file is a node of its own, several are those below the node that joins them. All commands at
 * once: QEMU takes them in order, and the last one fails where one before has. */
static void send_commands(struct slot *slot, int descriptor, struct slot_file *files, size_t count)
{
	struct qmp *qmp = slot->slots->qmp;
	_cleanup_free_ char *image = node_name(slot->node.number);
	_cleanup_free_ char *node = xasprintf(DISKS_SLOT_NODE, number_of(slot));
	json_t *options = file_node(slot);

	if (descriptor >= 0) {
		add_fd(slot, descriptor);
		options = json_pack("{s:s, s:b, s:o}", "driver", "vmdk", "read-only", 1, "file",
				    options);
	}
	for (size_t i = 0; i < count; i++)
		add_fd(slot, steal_fd(&files[i].fd));
	json_object_set_new(options, "node-name", json_string(image));
	qmp_command(qmp, "blockdev-add", options, ATTACH_TIMEOUT_MS, on_added, slot);
	qmp_command(qmp, "blockdev-reopen",
		    json_pack("{s:[{s:s, s:s, s:b, s:s}]}", "options", "driver", "raw", "node-name",
			      node, "read-only", 1, "file", image),
		    ATTACH_TIMEOUT_MS, on_reopened, slot);
}

static void on_monitor_event(struct qmp *qmp _unused_, const char *event, json_t *data,
			     void *userdata)
{
	struct slots *slots = userdata;

	if (slots->on_event)
		slots->on_event(event, data, slots->event_userdata);
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
		if (slot->state == SLOT_EMPTY && waiters_empty(&slot->waiters))
			return slot;
		if (slot->state == SLOT_HOLDING && slot->users == 0)
			unused = slot;
	}
	return unused;
}

/* Where there is no slot, or no monitor any more: told from the loop. */
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

static void refuse(struct slots *slots, struct error *err, slots_fn fn, void *userdata)
{
	struct refusal *refusal = xnew(struct refusal);

	refusal->fn = fn;
	refusal->userdata = userdata;
	error_move(&refusal->error, err);
	loop_defer(slots->loop, tell_refused, refusal);
}

static void add_waiter(struct slot *slot, slots_fn fn, void *userdata)
{
	waiters_add(&slot->waiters, fn, userdata);
	slot->users++;
}

/* ---------------------------------------------------------------- attaching */

/* To be read only, as QEMU asks of a set of descriptors that is to be read. */
static int write_descriptor(const struct strbuf *text, int *ret_fd, struct error *err)
{
	_cleanup_close_ int fd = memfd_create("layers.vmdk", MFD_CLOEXEC);
	_cleanup_free_ char *path = xasprintf("/proc/self/fd/%d", fd);

	if (fd < 0 || write(fd, text->text, text->len) != (ssize_t)text->len)
		return error_set_errno(err, errno, "cannot write a disk's descriptor");
	*ret_fd = open(path, O_RDONLY | O_CLOEXEC);
	return *ret_fd < 0 ? error_set_errno(err, errno, "cannot open %s", path) : 0;
}

/* Each file is an extent, named by the set that its descriptor will be in; the first set is the
 * disk's descriptor's. "RW" is the only access QEMU's driver knows: the node is read-only. */
static int make_descriptor(unsigned first_set, const struct slot_file *files, size_t count,
			   int *ret_fd, struct error *err)
{
	_cleanup_(strbuf_done) struct strbuf text = {};

	strbuf_adds(&text, "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
			   "createType=\"monolithicFlat\"\n");
	for (size_t i = 0; i < count; i++)
		strbuf_addf(&text, "RW %llu FLAT \"/dev/fdset/%zu\" 0\n",
			    (unsigned long long)(files[i].bytes / SECTOR), first_set + 1 + i);
	return write_descriptor(&text, ret_fd, err);
}

/* files may be of more than one, which a descriptor joins. */
static int attach_new(struct slots *slots, const char *key, struct slot_file *files, size_t count,
		      struct slot **ret_slot, struct error *err)
{
	struct slot *slot = slots->qmp ? find_free(slots) : NULL;
	unsigned number = slots->last_node + 1;
	int descriptor = -EBADF;

	if (!slots->qmp)
		return error_set(err, ENOTCONN, "the machine's monitor is gone");
	if (!slot)
		return error_set(err, EBUSY, "all %zu slots are taken", slots->count);
	int r = count > 1 ? make_descriptor(number, files, count, &descriptor, err) : 0;
	if (r < 0)
		return r;
	slots->last_node += (count > 1) + (unsigned)count;
	memcpy(slot->key, key, sizeof(slot->key));
	slot->added = false;
	slot->old_node = slot->node;
	slot->node = (struct node){ .number = number };
	set_state(slot, SLOT_ATTACHING);
	send_commands(slot, descriptor, files, count);
	*ret_slot = slot;
	return 0;
}

static void close_files(struct slot_file *files, size_t count)
{
	for (size_t i = 0; i < count; i++)
		close_fd(steal_fd(&files[i].fd));
}

void slots_attach(struct slots *slots, const char *key, struct slot_file *files, size_t count,
		  slots_fn fn, void *userdata)
{
	_cleanup_(error_done) struct error err = {};
	struct slot *slot = find_holder(slots, key);
	int r = slot ? 0 : attach_new(slots, key, files, count, &slot, &err);

	close_files(files, count);
	if (r < 0) {
		refuse(slots, &err, fn, userdata);
		return;
	}
	add_waiter(slot, fn, userdata);
	if (slot->state == SLOT_HOLDING)
		loop_defer(slots->loop, tell_waiters, slot);
}

void slots_release(struct slots *slots, size_t slot)
{
	slots->items[slot].users--;
}

struct slots *slots_new(struct loop *loop, int qmp_fd, size_t count, const char *sandbox_id)
{
	struct slots *slots = xnew(struct slots);
	const struct qmp_options options = {
		.on_event = on_monitor_event,
		.on_end = on_monitor_end,
		.userdata = slots,
	};

	slots->refs = 1;
	slots->loop = loop;
	slots->sandbox_id = xstrdup(sandbox_id);
	slots->count = count < DISKS_SLOTS_MAX ? count : DISKS_SLOTS_MAX;
	for (size_t i = 0; i < slots->count; i++) {
		slots->items[i].slots = slots;
	}
	slots->qmp = qmp_new(loop, qmp_fd, &options);
	return slots;
}

struct qmp *slots_monitor(const struct slots *slots)
{
	return slots->qmp;
}

void slots_on_event(struct slots *slots,
		    void (*fn)(const char *event, json_t *data, void *userdata), void *userdata)
{
	slots->on_event = fn;
	slots->event_userdata = userdata;
}

static void cancel_waiters(struct slot *slot)
{
	_cleanup_(error_done) struct error err = {};
	int r = error_set(&err, ECANCELED, "the machine is being released");

	waiters_answer(&slot->waiters, r, &err);
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
