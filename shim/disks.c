#include "shim/disks.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"
#include "factory/guest/disks.h"
#include "proto/guest.pb-c.h"
#include "proto/guest_disks.h"
#include "shim/disk_file.h"

enum {
	QMP_TIMEOUT_MS = 10000,
	FIND_TIMEOUT_MS = 20000,
	LEAVE_TIMEOUT_MS = 10000,
	UNPLUG_TIMEOUT_MS = 10000,
};

#define DEVICE_NAME "disk%u" /* QEMU's, of the node and of the device */

static const char *const disk_state_names[] = {
	[DISK_PLUGGING] = "plugging",
	[DISK_SEEKING] = "seeking",
	[DISK_ATTACHED] = "attached",
	[DISK_LEAVING] = "leaving",
	[DISK_UNPLUGGING] = "unplugging",
	[DISK_CLOSING] = "closing",
	[DISK_GONE] = "gone",
};
DEFINE_STRING_TABLE(disk_state, enum disk_state, disk_state_names)

static const unsigned disk_next[] = {
	[DISK_PLUGGING] = STATE(DISK_SEEKING) | STATE(DISK_CLOSING),
	[DISK_SEEKING] = STATE(DISK_ATTACHED) | STATE(DISK_UNPLUGGING),
	[DISK_ATTACHED] = STATE(DISK_LEAVING),
	[DISK_LEAVING] = STATE(DISK_ATTACHED) | STATE(DISK_UNPLUGGING),
	[DISK_UNPLUGGING] = STATE(DISK_CLOSING),
	[DISK_CLOSING] = STATE(DISK_GONE),
	[DISK_GONE] = 0,
};
const struct state_machine disk_states = STATE_MACHINE("disk", disk_state_names, disk_next);

/* Who has called disks_attach() and not been called back. */
struct waiter {
	TAILQ_ENTRY(waiter) link;
	struct disks *disks;
	char *path; /* owned */
	bool writable;
	disk_fn fn;
	void *userdata;
	struct disk *disk;  /* the answer; owned until it is told */
	struct error error; /* owned */
};
TAILQ_HEAD(waiter_list, waiter);

struct disk {
	TAILQ_ENTRY(disk) link;
	struct disks *disks; /* a reference */
	unsigned refs;       /* the list's, one of each user, one of each answer to come */
	enum disk_state state;
	unsigned number;
	unsigned place; /* slot of the bridge */
	char *serial;
	char *path; /* by which it was opened */
	struct disk_file file;
	bool writable;
	unsigned users;
	bool has_node;                  /* QEMU has its file */
	struct waiter_list waiters;     /* for ATTACHED, or for GONE to begin anew */
	struct error error;             /* why it could not be attached */
	bool is_deleted;                /* QEMU's device; before UNPLUGGING by the guest itself */
	bool is_stuck;                  /* in UNPLUGGING: the guest does not let go */
	void (*on_out)(void *userdata); /* of disk_release() */
	void *out_userdata;
	struct loop_timer *timer; /* of UNPLUGGING */
};

struct disks {
	struct loop *loop;
	struct slots *slots; /* a reference */
	struct agent_link *agent;
	char *sandbox_id;
	unsigned refs;
	unsigned next_number;
	uint32_t lent; /* slots of the bridge that are no disk's: bit N is slot N */
	bool closed;
	TAILQ_HEAD(disk_list, disk) items;
};

static void set_state(struct disk *disk, enum disk_state state)
{
	state_change(&disk_states, disk->serial, disk->state, state);
	disk->state = state;
}

static void free_disks(void *userdata)
{
	struct disks *disks = userdata;

	slots_unref(disks->slots);
	free(disks->sandbox_id);
	free(disks);
}

static void disks_unref(struct disks *disks)
{
	if (--disks->refs == 0)
		loop_defer(disks->loop, free_disks, disks);
}

static struct disk *disk_ref(struct disk *disk)
{
	disk->refs++;
	return disk;
}

static void free_disk(void *userdata)
{
	struct disk *disk = userdata;

	loop_timer_free(disk->timer);
	error_done(&disk->error);
	disks_unref(disk->disks);
	free(disk->serial);
	free(disk->path);
	free(disk);
}

static void disk_unref(struct disk *disk)
{
	if (--disk->refs == 0)
		loop_defer(disk->disks->loop, free_disk, disk);
}

/* ---------------------------------------------------------------- those who wait */

static void tell_waiter(void *userdata)
{
	struct waiter *waiter = userdata;
	struct disk *disk = waiter->disk;

	waiter->fn(-waiter->error.number, disk, &waiter->error, waiter->userdata);
	error_done(&waiter->error);
	disks_unref(waiter->disks);
	free(waiter->path);
	free(waiter);
}

/* disk: a user more; or NULL, and why is copied. */
static void answer(struct waiter *waiter, struct disk *disk, const struct error *why)
{
	if (disk && waiter->writable && !disk->writable)
		(void)error_set(
			&waiter->error, EBUSY,
			"this sandbox has it read-only already, and it is to be written to");
	else if (disk)
		waiter->disk = disk_ref(disk);
	else
		(void)error_set(&waiter->error, why->number, "%s", error_message(why));
	if (waiter->disk)
		waiter->disk->users++;
	loop_defer(waiter->disks->loop, tell_waiter, waiter);
}

static struct waiter *take_waiter(struct disk *disk)
{
	struct waiter *waiter = TAILQ_FIRST(&disk->waiters);

	if (waiter)
		TAILQ_REMOVE(&disk->waiters, waiter, link);
	return waiter;
}

static void answer_all(struct disk *disk, const struct error *why)
{
	struct waiter *waiter;

	while ((waiter = take_waiter(disk)))
		answer(waiter, why ? NULL : disk, why);
}

struct out_call {
	void (*fn)(void *userdata);
	void *userdata;
};

static void call_out(void *userdata)
{
	struct out_call *call = userdata;

	call->fn(call->userdata);
	free(call);
}

static void tell_out(struct disks *disks, void (*fn)(void *userdata), void *userdata)
{
	struct out_call *call;

	if (!fn)
		return;
	call = xnew(struct out_call);
	*call = (struct out_call){ fn, userdata };
	loop_defer(disks->loop, call_out, call);
}

static void tell_releaser(struct disk *disk)
{
	tell_out(disk->disks, steal_ptr(disk->on_out), disk->out_userdata);
}

/* ---------------------------------------------------------------- out */

static void attach(struct waiter *waiter);

/* Takes the list's reference. */
static void become_gone(struct disk *disk)
{
	struct waiter *waiter;

	set_state(disk, DISK_GONE);
	TAILQ_REMOVE(&disk->disks->items, disk, link);
	tell_releaser(disk);
	while ((waiter = take_waiter(disk)))
		attach(waiter);
	disk_unref(disk);
}

static void on_node_removed(int number, json_t *result _unused_, const struct error *err,
			    void *userdata)
{
	struct disk *disk = userdata;

	if (!disk->disks->closed) {
		if (number < 0)
			log_warning(disk->disks->sandbox_id, "disk %s: QEMU keeps its file: %s",
				    disk->serial, error_message(err));
		become_gone(disk);
	}
	disk_unref(disk);
}

/* QEMU closes the file and forgets its descriptor; the second answer comes last. */
static void remove_node(struct disk *disk)
{
	struct qmp *qmp = slots_monitor(disk->disks->slots);
	_cleanup_free_ char *name = xasprintf(DEVICE_NAME, disk->number);

	set_state(disk, DISK_CLOSING);
	if (disk->timer)
		loop_timer_stop(disk->timer);
	if (!qmp) {
		become_gone(disk);
		return;
	}
	if (disk->has_node)
		qmp_command(qmp, "blockdev-del", json_pack("{s:s}", "node-name", name), 0, NULL,
			    NULL);
	qmp_command(qmp, "remove-fd", json_pack("{s:i}", "fdset-id", (int)disk->number),
		    QMP_TIMEOUT_MS, on_node_removed, disk_ref(disk));
}

static void set_stuck_error(struct error *err)
{
	(void)error_set(err, EBUSY, "the guest does not let go of it");
}

/* The host's device stays open. */
static void on_unplug_timeout(void *userdata)
{
	struct disk *disk = userdata;

	_cleanup_(error_done) struct error err = {};

	set_stuck_error(&err);
	log_warning(disk->disks->sandbox_id, "disk %s stays in the machine until that ends: %s",
		    disk->serial, error_message(&err));
	disk->is_stuck = true;
	tell_releaser(disk);
	answer_all(disk, &err);
}

static void on_event(const char *event, json_t *data, void *userdata)
{
	struct disks *disks = userdata;
	const char *device = json_string_value(json_object_get(data, "device"));
	struct disk *disk;

	if (!device || !str_equal(event, "DEVICE_DELETED"))
		return;
	TAILQ_FOREACH (disk, &disks->items, link) {
		_cleanup_free_ char *name = xasprintf(DEVICE_NAME, disk->number);
		if (!str_equal(name, device))
			continue;
		disk->is_deleted = true;
		if (disk->state == DISK_UNPLUGGING)
			remove_node(disk);
		return;
	}
}

static void unplug(struct disk *disk)
{
	struct qmp *qmp = slots_monitor(disk->disks->slots);
	_cleanup_free_ char *name = xasprintf(DEVICE_NAME, disk->number);

	set_state(disk, DISK_UNPLUGGING);
	if (disk->is_deleted) {
		remove_node(disk);
		return;
	}
	disk->timer = loop_timer_new(disk->disks->loop, on_unplug_timeout, disk);
	loop_timer_start(disk->timer, UNPLUG_TIMEOUT_MS);
	if (qmp)
		qmp_command(qmp, "device_del", json_pack("{s:s}", "id", name), 0, NULL, NULL);
}

static void on_left(const struct ttrpc_reply *reply, void *userdata)
{
	struct disk *disk = userdata;

	if (disk->disks->closed) {
		disk_unref(disk);
		return;
	}
	if (reply->code == TTRPC_OK) {
		unplug(disk);
	} else {
		log_warning(disk->disks->sandbox_id, "the guest holds on to disk %s: %s",
			    disk->serial, reply->message);
		set_state(disk, DISK_ATTACHED);
		tell_releaser(disk);
		answer_all(disk, NULL);
	}
	disk_unref(disk);
}

static void leave(struct disk *disk)
{
	Kiln__Guest__V1__LeaveDiskRequest request = KILN__GUEST__V1__LEAVE_DISK_REQUEST__INIT;

	set_state(disk, DISK_LEAVING);
	request.serial = disk->serial;
	agent_call_service(disk->disks->agent, &kiln__guest__v1__guest__descriptor, "LeaveDisk",
			   &request.base, LEAVE_TIMEOUT_MS, on_left, disk_ref(disk));
}

void disk_release(struct disk *disk, void (*fn)(void *userdata), void *userdata)
{
	disk->users--;
	if (disk->disks->closed || disk->state != DISK_ATTACHED || disk->users > 0) {
		tell_out(disk->disks, fn, userdata);
	} else {
		disk->on_out = fn;
		disk->out_userdata = userdata;
		leave(disk);
	}
	disk_unref(disk);
}

/* ---------------------------------------------------------------- in */

static void on_found(const struct ttrpc_reply *reply, void *userdata)
{
	struct disk *disk = userdata;

	if (disk->disks->closed) {
		disk_unref(disk);
		return;
	}
	int r = reply->code == TTRPC_OK
			? FAULT_ERROR("disk.found", &disk->error)
			: error_set(&disk->error, ETIMEDOUT, "the guest does not see it: %s",
				    reply->message);
	if (r == 0) {
		set_state(disk, DISK_ATTACHED);
		answer_all(disk, NULL);
		if (disk->users == 0)
			leave(disk);
	} else {
		answer_all(disk, &disk->error);
		unplug(disk);
	}
	disk_unref(disk);
}

static void find(struct disk *disk)
{
	Kiln__Guest__V1__FindDiskRequest request = KILN__GUEST__V1__FIND_DISK_REQUEST__INIT;

	set_state(disk, DISK_SEEKING);
	request.serial = disk->serial;
	agent_call_service(disk->disks->agent, &kiln__guest__v1__guest__descriptor, "FindDisk",
			   &request.base, FIND_TIMEOUT_MS, on_found, disk_ref(disk));
}

static void note_failure(struct disk *disk, int number, const struct error *err)
{
	if (number < 0 && !disk->error.number)
		(void)error_set(&disk->error, -number, "%s", error_message(err));
}

static void on_fd_added(int number, json_t *result _unused_, const struct error *err,
			void *userdata)
{
	struct disk *disk = userdata;

	note_failure(disk, number, err);
	disk_unref(disk);
}

static void on_node_added(int number, json_t *result _unused_, const struct error *err,
			  void *userdata)
{
	struct disk *disk = userdata;

	disk->has_node = number >= 0;
	note_failure(disk, number, err);
	disk_unref(disk);
}

/* The last command's answer. */
static void on_plugged(int number, json_t *result _unused_, const struct error *err, void *userdata)
{
	struct disk *disk = userdata;

	note_failure(disk, number, err);
	if (!disk->disks->closed && disk->error.number) {
		answer_all(disk, &disk->error);
		remove_node(disk);
	} else if (!disk->disks->closed) {
		find(disk);
	}
	disk_unref(disk);
}

/* All commands at once: QEMU takes them in order, and each fails where one before has. */
static void plug(struct disk *disk, struct qmp *qmp, int fd)
{
	_cleanup_free_ char *name = xasprintf(DEVICE_NAME, disk->number);
	_cleanup_free_ char *path = xasprintf("/dev/fdset/%u", disk->number);
	_cleanup_free_ char *place = xasprintf("0x%x", disk->place);

	qmp_command_fds(qmp, "add-fd", json_pack("{s:i}", "fdset-id", (int)disk->number), &fd, 1,
			QMP_TIMEOUT_MS, on_fd_added, disk_ref(disk));
	qmp_command(qmp, "blockdev-add",
		    json_pack("{s:s, s:s, s:s, s:b, s:s, s:s}", "driver",
			      disk->file.is_device ? "host_device" : "file", "node-name", name,
			      "filename", path, "read-only", !disk->writable, "discard", "unmap",
			      "locking", "off"),
		    QMP_TIMEOUT_MS, on_node_added, disk_ref(disk));
	qmp_command(qmp, "device_add",
		    json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:s, s:s}", "driver",
			      "virtio-blk-pci", "id", name, "drive", name, "serial", disk->serial,
			      "bus", DISKS_BRIDGE, "addr", place, "num-queues", 1, "werror",
			      "report", "rerror", "report"),
		    QMP_TIMEOUT_MS, on_plugged, disk_ref(disk));
}

static bool is_taken(const struct disks *disks, unsigned place)
{
	const struct disk *disk;

	static_assert(DISKS_PLUGGED_MAX < 32, "a bit of `lent` for each");
	if (disks->lent & 1U << place)
		return true;
	TAILQ_FOREACH (disk, &disks->items, link)
		if (disk->place == place)
			return true;
	return false;
}

/* 0: none is free. */
static unsigned find_place(const struct disks *disks)
{
	for (unsigned place = 1; place <= DISKS_PLUGGED_MAX; place++)
		if (!is_taken(disks, place))
			return place;
	return 0;
}

unsigned disks_lend_place(struct disks *disks)
{
	unsigned place = find_place(disks);

	if (place > 0)
		disks->lent |= 1U << place;
	return place;
}

static struct disk *disk_new(struct disks *disks, const struct disk_file *file, unsigned place)
{
	struct disk *disk = xnew(struct disk);

	disk->disks = disks;
	disks->refs++;
	disk->refs = 1;
	disk->number = ++disks->next_number;
	disk->place = place;
	disk->serial = xasprintf(GUEST_DISK_PLUGGED, disk->number);
	disk->file = *file;
	TAILQ_INIT(&disk->waiters);
	TAILQ_INSERT_TAIL(&disks->items, disk, link);
	return disk;
}

static int open_and_plug(struct disks *disks, struct waiter *waiter, const struct disk_file *file,
			 struct error *err)
{
	struct qmp *qmp = slots_monitor(disks->slots);
	unsigned place = find_place(disks);
	_cleanup_close_ int fd = -EBADF;

	if (!qmp)
		return error_set(err, ENOTCONN, "the machine's monitor is gone");
	if (place == 0)
		return error_set(err, EAGAIN, "the machine has %d disks and cards already",
				 DISKS_PLUGGED_MAX);
	int r = disk_file_open(waiter->path, file, waiter->writable, &fd, err);
	if (r == 0)
		r = FAULT_ERROR("disk.opened", err);
	if (r < 0)
		return r;
	struct disk *disk = disk_new(disks, file, place);

	disk->path = xstrdup(waiter->path);
	disk->writable = waiter->writable;
	TAILQ_INSERT_TAIL(&disk->waiters, waiter, link);
	plug(disk, qmp, steal_fd(&fd));
	return 0;
}

static struct disk *find_attached(const struct disks *disks, const struct disk_file *file)
{
	struct disk *disk;

	TAILQ_FOREACH (disk, &disks->items, link)
		if (disk_file_equal(&disk->file, file))
			return disk;
	return NULL;
}

static void attach(struct waiter *waiter)
{
	struct disks *disks = waiter->disks;
	_cleanup_(error_done) struct error err = {};
	struct disk_file file;
	int r = disk_file_identify(waiter->path, &file, &err);
	struct disk *disk = r == 0 ? find_attached(disks, &file) : NULL;

	if (disk && disk->state == DISK_ATTACHED)
		answer(waiter, disk, NULL);
	else if (disk && disk->is_stuck)
		set_stuck_error(&err);
	else if (disk)
		TAILQ_INSERT_TAIL(&disk->waiters, waiter, link);
	else if (r == 0)
		(void)!open_and_plug(disks, waiter, &file, &err);
	if (err.number)
		answer(waiter, NULL, &err);
}

void disks_attach(struct disks *disks, const char *path, bool writable, disk_fn fn, void *userdata)
{
	struct waiter *waiter = xnew(struct waiter);

	waiter->disks = disks;
	disks->refs++;
	waiter->path = xstrdup(path);
	waiter->writable = writable;
	waiter->fn = fn;
	waiter->userdata = userdata;
	attach(waiter);
}

/* ---------------------------------------------------------------- resize */

struct resizing {
	disk_resize_fn fn;
	void *userdata;
	struct error error; /* of one that QEMU was not asked */
};

static void end_resizing(struct resizing *resizing, int number, const struct error *err)
{
	resizing->fn(number, err, resizing->userdata);
	error_done(&resizing->error);
	free(resizing);
}

static void on_refused(void *userdata)
{
	struct resizing *resizing = userdata;

	end_resizing(resizing, -resizing->error.number, &resizing->error);
}

static void on_resized(int number, json_t *result _unused_, const struct error *err, void *userdata)
{
	end_resizing(userdata, number, err);
}

void disk_resize(struct disk *disk, uint64_t size, disk_resize_fn fn, void *userdata)
{
	struct qmp *qmp = disk->disks->closed ? NULL : slots_monitor(disk->disks->slots);
	_cleanup_free_ char *name = xasprintf(DEVICE_NAME, disk->number);
	struct resizing *resizing = xnew(struct resizing);

	resizing->fn = fn;
	resizing->userdata = userdata;
	if (!qmp)
		(void)error_set(&resizing->error, ENOTCONN, "the machine's monitor is gone");
	else
		(void)!disk_file_can_grow(disk->path, size, &resizing->error);
	if (resizing->error.number)
		loop_defer(disk->disks->loop, on_refused, resizing);
	else
		qmp_command(qmp, "block_resize",
			    json_pack("{s:s, s:I}", "node-name", name, "size", (json_int_t)size),
			    QMP_TIMEOUT_MS, on_resized, resizing);
}

const char *disk_serial(const struct disk *disk)
{
	return disk->serial;
}

bool disk_is_writable(const struct disk *disk)
{
	return disk->writable;
}

bool disk_is_shared(const struct disk *disk)
{
	return disk->users > 1;
}

/* ---------------------------------------------------------------- all of them */

struct disks *disks_new(struct loop *loop, struct slots *slots, struct agent_link *agent,
			const char *sandbox_id)
{
	struct disks *disks = xnew(struct disks);

	disks->loop = loop;
	disks->slots = slots_ref(slots);
	disks->agent = agent;
	disks->sandbox_id = xstrdup(sandbox_id);
	disks->refs = 1;
	TAILQ_INIT(&disks->items);
	slots_on_event(slots, on_event, disks);
	return disks;
}

void disks_close(struct disks *disks)
{
	_cleanup_(error_done) struct error err = {};
	struct disk *disk, *next;

	if (!disks)
		return;
	disks->closed = true;
	slots_on_event(disks->slots, NULL, NULL);
	(void)error_set(&err, ECANCELED, "the machine is being released");
	TAILQ_FOREACH_SAFE (disk, &disks->items, link, next) {
		TAILQ_REMOVE(&disks->items, disk, link);
		answer_all(disk, &err);
		tell_releaser(disk);
		loop_timer_free(steal_ptr(disk->timer));
		disk_unref(disk);
	}
	disks_unref(disks);
}
