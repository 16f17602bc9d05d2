#include "agent/disk_calls.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/disk.h"
#include "agent/finders.h"
#include "agent/pending.h"
#include "agent/volume.h"
#include "base/memory.h"
#include "base/strings.h"
#include "google/protobuf/empty.pb-c.h"
#include "proto/guest_disks.h"

enum { WAITING_MAX = 64, LOOK_AGAIN_MS = 10 };

struct disk_calls {
	struct loop *loop;
	struct finders *finders; /* owned */
	struct pending_list leavers, resizers;
	struct loop_timer *timer; /* owned; runs while there are leavers or resizers */
};

/* ---------------------------------------------------------------- find */

static int look_for_disk(const ProtobufCMessage *message, struct error *err _unused_)
{
	const Kiln__Guest__V1__FindDiskRequest *request = (const void *)message;
	_cleanup_free_ char *path = xasprintf(GUEST_DISK_BY_ID "%s", request->serial);
	_cleanup_free_ char *device = NULL;

	return disk_find(path, &device, NULL) == 0 && disk_is_ready(device) ? 0 : -EAGAIN;
}

void disk_calls_find(struct disk_calls *calls, struct ttrpc_call *call,
		     const Kiln__Guest__V1__FindDiskRequest *request)
{
	finders_add(calls->finders, call, &request->base);
}

/* ---------------------------------------------------------------- leave */

/* O_EXCL: refused while a file system of the disk is mounted anywhere. */
static int disk_leave(const char *serial, struct error *err)
{
	_cleanup_free_ char *path = xasprintf(GUEST_DISK_BY_ID "%s", serial);
	_cleanup_free_ char *device = NULL;

	if (disk_find(path, &device, NULL) < 0)
		return 0;
	_cleanup_close_ int fd = open(device, O_RDONLY | O_EXCL | O_CLOEXEC);
	if (fd < 0)
		return error_set_errno(err, errno, "disk %s (%s)", serial, device);
	if (fsync(fd) < 0)
		return error_set_errno(err, errno, "what was written to disk %s is lost", serial);
	return 0;
}

static void answer_leavers(struct disk_calls *calls)
{
	Kiln__Guest__V1__LeaveDiskResponse response = KILN__GUEST__V1__LEAVE_DISK_RESPONSE__INIT;
	struct pending *pending, *next;

	TAILQ_FOREACH_SAFE (pending, &calls->leavers.calls, link, next) {
		const Kiln__Guest__V1__LeaveDiskRequest *request =
			(const Kiln__Guest__V1__LeaveDiskRequest *)pending->request;
		_cleanup_(error_done) struct error err = {};
		int r = disk_leave(request->serial, &err);
		if (r == 0)
			ttrpc_call_reply(pending_leave(pending), &response.base);
		else if (r != -EBUSY)
			ttrpc_call_fail(pending_leave(pending), &err);
	}
}

/* ---------------------------------------------------------------- resize */

static void answer_resizers(struct disk_calls *calls)
{
	Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
	struct pending *pending, *next;

	TAILQ_FOREACH_SAFE (pending, &calls->resizers.calls, link, next) {
		const Grpc__ResizeVolumeRequest *request =
			(const Grpc__ResizeVolumeRequest *)pending->request;
		_cleanup_(error_done) struct error err = {};
		int r = volume_grow(request->volume_guest_path, request->size, &err);
		if (r == 0)
			ttrpc_call_reply(pending_leave(pending), &empty.base);
		else if (r != -EAGAIN)
			ttrpc_call_fail(pending_leave(pending), &err);
	}
}

/* ---------------------------------------------------------------- both look every now and then */

static void look(void *userdata)
{
	struct disk_calls *calls = userdata;

	answer_leavers(calls);
	answer_resizers(calls);
	if (calls->leavers.count + calls->resizers.count > 0)
		loop_timer_start(calls->timer, LOOK_AGAIN_MS);
}

static void add_and_look(struct disk_calls *calls, struct pending_list *list,
			 struct ttrpc_call *call, const ProtobufCMessage *request)
{
	if (pending_add(list, WAITING_MAX, call, request) < 0)
		ttrpc_call_fail_code(call, TTRPC_RESOURCE_EXHAUSTED,
				     "%d calls wait for disks already", WAITING_MAX);
	else
		look(calls);
}

void disk_calls_leave(struct disk_calls *calls, struct ttrpc_call *call,
		      const Kiln__Guest__V1__LeaveDiskRequest *request)
{
	add_and_look(calls, &calls->leavers, call, &request->base);
}

void disk_calls_resize(struct disk_calls *calls, struct ttrpc_call *call,
		       const Grpc__ResizeVolumeRequest *request)
{
	add_and_look(calls, &calls->resizers, call, &request->base);
}

/* ---------------------------------------------------------------- life */

struct disk_calls *disk_calls_new(struct loop *loop)
{
	static const Kiln__Guest__V1__FindDiskResponse found =
		KILN__GUEST__V1__FIND_DISK_RESPONSE__INIT;
	struct disk_calls *calls = xnew(struct disk_calls);

	calls->loop = loop;
	calls->finders = finders_new(loop, look_for_disk, &found.base);
	pending_init(&calls->leavers, NULL, NULL);
	pending_init(&calls->resizers, NULL, NULL);
	calls->timer = loop_timer_new(loop, look, calls);
	return calls;
}

void disk_calls_free(struct disk_calls *calls)
{
	struct ttrpc_call *call;

	if (!calls)
		return;
	finders_free(calls->finders);
	while ((call = pending_take(&calls->leavers)) || (call = pending_take(&calls->resizers)))
		ttrpc_call_drop(call);
	loop_timer_free(calls->timer);
	free(calls);
}
