#include "shim/scratch_watch.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "proto/guest.pb-c.h"

#define MIB ((uint64_t)1 << 20)
/* What the guest makes of the figure depends on what it has not written back, which is worth
 * telling it the same again, where every MiB counts. */
#define NEAR_BYTES (1024 * MIB)

enum {
	MARGIN_PART = 50,
	INTERVAL_MIN_MS = 100,
	INTERVAL_MAX_MS = 5000,
	FULL_INTERVAL_MS = 1000, /* nothing is written; how long room that is back is not seen */
	AGAIN_MS = 5000,
	CALL_TIMEOUT_MS = 10000,
	CHANGE_PART = 16, /* what is worth telling is a change by this part */
};

struct scratch_watch {
	struct agent_link *agent;
	char *sandbox_id;
	char *dir;
	int dir_fd;
	struct loop_timer *timer;
	uint64_t disk_bytes;
	uint64_t told; /* what the guest was told last; disk_bytes: nothing that matters */
	uint64_t told_ms;
	struct agent_call *call; /* under way; NULL: none */
	bool full;               /* for the log */
	bool failed;             /* ditto: the last call, or the last look */
};

uint64_t scratch_watch_room(uint64_t size, uint64_t free)
{
	uint64_t margin = size / MARGIN_PART;

	if (margin < SCRATCH_WATCH_MARGIN_MIN)
		margin = SCRATCH_WATCH_MARGIN_MIN;
	if (margin > SCRATCH_WATCH_MARGIN_MAX)
		margin = SCRATCH_WATCH_MARGIN_MAX;
	return free > margin ? free - margin : 0;
}

uint64_t scratch_watch_interval(uint64_t room)
{
	uint64_t ms = room / (SCRATCH_WATCH_SPEED / 1000);

	if (room == 0)
		return FULL_INTERVAL_MS;
	if (ms < INTERVAL_MIN_MS)
		return INTERVAL_MIN_MS;
	return ms > INTERVAL_MAX_MS ? INTERVAL_MAX_MS : ms;
}

/* Once for each time that it goes wrong. */
static void note_failure(struct scratch_watch *watch, const char *what)
{
	if (!watch->failed)
		log_warning(watch->sandbox_id,
			    "the guest does not know what is free in %s, and may fill it: %s",
			    watch->dir, what);
	watch->failed = true;
}

static void on_told(const struct ttrpc_reply *reply, void *userdata)
{
	struct scratch_watch *watch = userdata;

	watch->call = NULL;
	if (reply->code == TTRPC_OK)
		watch->failed = false;
	else
		note_failure(watch, reply->message);
}

static void tell(struct scratch_watch *watch, uint64_t room)
{
	Kiln__Guest__V1__SetScratchRoomRequest request =
		KILN__GUEST__V1__SET_SCRATCH_ROOM_REQUEST__INIT;

	/* However small the disk: one that fits is not near its host's end. */
	request.bytes = room == watch->disk_bytes ? UINT64_MAX : room;
	watch->told = room;
	watch->told_ms = clock_monotonic_ms();
	watch->call = agent_call_service(watch->agent, &kiln__guest__v1__guest__descriptor,
					 "SetScratchRoom", &request.base, CALL_TIMEOUT_MS, on_told,
					 watch);
}

static bool is_worth_telling(const struct scratch_watch *watch, uint64_t room)
{
	uint64_t change = room > watch->told ? room - watch->told : watch->told - room;
	uint64_t threshold = watch->told / CHANGE_PART > MIB ? watch->told / CHANGE_PART : MIB;

	if (change >= threshold || (change > 0 && (room == 0 || room == watch->disk_bytes)))
		return true;
	return (watch->failed || (room < NEAR_BYTES && room < watch->disk_bytes)) &&
	       clock_monotonic_ms() - watch->told_ms >= AGAIN_MS;
}

static void log_fullness(struct scratch_watch *watch, uint64_t room)
{
	if (watch->full == (room == 0))
		return;
	watch->full = room == 0;
	if (watch->full)
		log_warning(
			watch->sandbox_id,
			"the file system of %s is full: what the containers write fails with "
			"ENOSPC until there is room (scratch_dir in the factory's configuration)",
			watch->dir);
	else
		log_info(watch->sandbox_id, "there is room in %s again", watch->dir);
}

static void look(void *userdata)
{
	struct scratch_watch *watch = userdata;
	uint64_t room = 0;
	struct statvfs fs;

	if (fstatvfs(watch->dir_fd, &fs) < 0) {
		note_failure(watch, strerror(errno));
		loop_timer_start(watch->timer, INTERVAL_MAX_MS);
		return;
	}
	/* f_bavail: a VMM is not root. */
	room = scratch_watch_room(fs.f_blocks * fs.f_frsize, fs.f_bavail * fs.f_frsize);
	log_fullness(watch, room);
	loop_timer_start(watch->timer, scratch_watch_interval(room));
	if (room > watch->disk_bytes)
		room = watch->disk_bytes;
	if (!watch->call && is_worth_telling(watch, room))
		tell(watch, room);
}

struct scratch_watch *scratch_watch_new(const struct scratch_watch_options *options)
{
	int dir_fd = open(options->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (dir_fd < 0) {
		log_warning(
			options->sandbox_id,
			"cannot open %s, the folder of scratch disks: %s; what is free there is "
			"not watched",
			options->dir, strerror(errno));
		return NULL;
	}

	struct scratch_watch *watch = xnew(struct scratch_watch);

	*watch = (struct scratch_watch){
		.agent = options->agent,
		.sandbox_id = xstrdup(options->sandbox_id),
		.dir = xstrdup(options->dir),
		.dir_fd = dir_fd,
		.disk_bytes = options->disk_bytes,
		.told = options->disk_bytes,
	};
	watch->timer = loop_timer_new(options->loop, look, watch);
	look(watch);
	return watch;
}

void scratch_watch_free(struct scratch_watch *watch)
{
	if (!watch)
		return;
	agent_call_cancel(watch->call);
	loop_timer_free(watch->timer);
	close_fd(watch->dir_fd);
	free(watch->sandbox_id);
	free(watch->dir);
	free(watch);
}
