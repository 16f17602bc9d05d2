#include "agent/scratch_room.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#include "agent/disk.h"
#include "agent/scratch.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"
#include "proto/guest_disks.h"

#define VM_SETTINGS "/proc/sys/vm/"

enum {
	MEMINFO_MAX = 64 << 10,
	/* ext4's own reserve: a fiftieth of the disk, and not more than this. */
	RESERVE_PART = 50,
	RESERVE_MAX = 4096,
};

/* How the kernel writes back, usually (its own defaults) and near the end. Each value is for the
 * whole guest: all that it writes back is the scratch disk's. Whenever dirty_writeback_centisecs
 * changes, all that is unwritten is begun to be written. */
static const struct {
	const char *name, *usual, *near;
} write_back[] = {
	{ "dirty_expire_centisecs", "3000", "100" },
	{ "dirty_background_ratio", "10", NULL }, /* the same setting, in other terms */
	{ "dirty_background_bytes", NULL, "4194304" },
	{ "dirty_ratio", "20", NULL },
	{ "dirty_bytes", NULL, "8388608" },
	{ "dirty_writeback_centisecs", "500", "100" },
};

static int set_write_back(bool near, struct error *err)
{
	static bool is_near; /* as it was frozen in the template: not */
	int r = 0;

	if (near == is_near)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(write_back) && r == 0; i++) {
		_cleanup_free_ char *path = xasprintf(VM_SETTINGS "%s", write_back[i].name);
		const char *value = near ? write_back[i].near : write_back[i].usual;

		if (value)
			r = file_write_value(path, value, err);
	}
	/* What was removed is the host's again with the next commit. This does not wait for one. */
	if (r == 0 && mount(NULL, GUEST_SCRATCH, NULL, MS_REMOUNT | MS_NODEV,
			    near ? SCRATCH_COMMIT_NEAR : SCRATCH_COMMIT) < 0)
		r = error_set_errno(err, errno, "cannot change the options of " GUEST_SCRATCH);
	if (r == 0)
		is_near = near;
	return r;
}

static int read_kib(const char *meminfo, const char *name, uint64_t *ret_bytes, struct error *err)
{
	const char *at = strstr(meminfo, name);
	char *end = NULL;

	*ret_bytes = at ? strtoull(at + strlen(name), &end, 10) * 1024 : 0;
	if (!at || !str_after(end, " kB"))
		return error_set(err, EPROTO, "/proc/meminfo has no line \"%s ... kB\"", name + 1);
	return 0;
}

int scratch_room_unwritten(const char *meminfo, uint64_t *ret_bytes, struct error *err)
{
	uint64_t dirty, underway;
	int r = read_kib(meminfo, "\nDirty:", &dirty, err);

	if (r == 0)
		r = read_kib(meminfo, "\nWriteback:", &underway, err);
	if (r == 0)
		*ret_bytes = dirty + underway;
	return r;
}

uint64_t scratch_room_reserve(uint64_t blocks, uint64_t free_blocks, uint64_t room)
{
	uint64_t usual = blocks / RESERVE_PART;

	if (usual > RESERVE_MAX)
		usual = RESERVE_MAX;
	return free_blocks > room && free_blocks - room > usual ? free_blocks - room : usual;
}

static int set_reserve(const char *device, uint64_t bytes, struct error *err)
{
	_cleanup_free_ char *path = xasprintf("/sys/fs/ext4/%s/reserved_clusters",
					      device + strlen("/dev/"));
	struct statvfs fs;

	if (statvfs(GUEST_SCRATCH, &fs) < 0)
		return error_set_errno(err, errno, "cannot tell what is free on " GUEST_SCRATCH);

	/* A block is a cluster, for there is no bigalloc. */
	uint64_t reserve = scratch_room_reserve(fs.f_blocks, fs.f_bfree, bytes / fs.f_bsize);
	_cleanup_free_ char *text = xasprintf("%" PRIu64, reserve);

	return file_write_value(path, text, err);
}

int scratch_room_set(uint64_t bytes, struct error *err)
{
	_cleanup_free_ char *device = NULL, *meminfo = NULL;
	uint64_t unwritten = 0;
	int r = disk_find(GUEST_DISK_BY_ID GUEST_DISK_SCRATCH, &device, err);

	if (r == 0)
		r = set_write_back(bytes < SCRATCH_ROOM_NEAR, err);
	if (r == 0)
		r = file_read("/proc/meminfo", MEMINFO_MAX, &meminfo, NULL, err);
	if (r == 0)
		r = scratch_room_unwritten(meminfo, &unwritten, err);
	if (r == 0)
		r = set_reserve(device, bytes > unwritten ? bytes - unwritten : 0, err);
	return r;
}
