#include "agent/scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/disk.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strv.h"
#include "proto/guest_disks.h"

/* Inode tables are zero already (factory/store/device_files.c). What is not used any more goes back
 * to the host, with a commit of the journal. No crash is waited for, so data need not be written
 * before it, and it can come late: a clone that is warmed has none, whose code an emulated machine
 * would keep. */
#define EXT4_OPTIONS "noinit_itable,nobarrier,discard,data=writeback," SCRATCH_COMMIT

enum {
	ENTRIES_AT_ONCE = 256, /* removed in one turn of the loop */
	TURN_MS = 1,
};

struct scratch {
	struct loop_timer *timer; /* owned */
	struct strv removals;     /* owned; the first is under way */
	unsigned next;            /* number of the next folder */
	unsigned moved;           /* number of the next folder that is moved up */
};

/* ---------------------------------------------------------------- the disk */

int scratch_mount(struct error *err)
{
	_cleanup_free_ char *device = NULL;
	int r = dir_make(GUEST_SCRATCH, 0755, err);

	if (r < 0)
		return r;
	if (disk_find(GUEST_DISK_BY_ID GUEST_DISK_SCRATCH, &device, NULL) == 0)
		r = mount(device, GUEST_SCRATCH, "ext4", MS_NODEV, EXT4_OPTIONS);
	else
		r = mount("scratch", GUEST_SCRATCH, "tmpfs", MS_NODEV, "mode=0755");
	if (r < 0)
		return error_set_errno(err, errno, "cannot mount %s on " GUEST_SCRATCH,
				       device ? device : "a tmpfs");
	return 0;
}

/* ---------------------------------------------------------------- removal */

/* Folders are moved up to the top one before their parent goes, so that none is ever deeper than
 * one level, however deep a container has nested them. */
static int move_up(struct scratch *scratch, int dir, const char *name, int top)
{
	char moved[32];
	int r;

	do {
		snprintf(moved, sizeof(moved), ".moved-%u", scratch->moved++);
		r = renameat2(dir, name, top, moved, RENAME_NOREPLACE);
	} while (r < 0 && errno == EEXIST);
	return r < 0 ? -errno : 0;
}

static bool is_dots(const char *name)
{
	return str_equal(name, ".") || str_equal(name, "..");
}

static int empty_some(struct scratch *scratch, int dir, int top, unsigned *budget);

/* A file, or a folder in the top one or below that. */
static int remove_entry(struct scratch *scratch, int dir, const char *name, int top,
			unsigned *budget)
{
	--*budget;
	if (unlinkat(dir, name, 0) == 0)
		return 0;
	if (errno != EISDIR)
		return -errno;
	if (dir != top)
		return move_up(scratch, dir, name, top);

	_cleanup_close_ int sub = openat(top, name,
					 O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r = sub < 0 ? -errno : empty_some(scratch, sub, top, budget);

	if (r == 0 && unlinkat(top, name, AT_REMOVEDIR) < 0)
		r = -errno;
	return r;
}

/* 0: dir is empty. -EAGAIN: there is more to do. */
static int empty_some(struct scratch *scratch, int dir, int top, unsigned *budget)
{
	int copy = fcntl(dir, F_DUPFD_CLOEXEC, 3);
	DIR *entries = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *entry;
	int r = 0;

	if (!entries)
		return -errno;
	rewinddir(entries);
	while (r == 0 && (entry = readdir(entries))) {
		if (is_dots(entry->d_name))
			continue;
		if (*budget == 0)
			r = -EAGAIN;
		else
			r = remove_entry(scratch, dir, entry->d_name, top, budget);
	}
	closedir(entries);
	return r;
}

/* 0: the folder is gone. */
static int remove_some(struct scratch *scratch, const char *path)
{
	_cleanup_close_ int top = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	unsigned budget = ENTRIES_AT_ONCE;
	int r = top < 0 ? -errno : empty_some(scratch, top, top, &budget);

	if (r == 0 && rmdir(path) < 0)
		/* Folders that were moved up while it was read. */
		r = errno == ENOTEMPTY ? -EAGAIN : -errno;
	return r;
}

static void on_turn(void *userdata)
{
	struct scratch *scratch = userdata;
	const char *path = scratch->removals.items[0];
	int r = remove_some(scratch, path);

	if (r < 0 && r != -EAGAIN)
		log_warning(NULL, "the folder %s is left: %s", path, strerror(-r));
	if (r != -EAGAIN)
		strv_remove(&scratch->removals, 0);
	if (scratch->removals.count > 0)
		loop_timer_start(scratch->timer, TURN_MS);
}

void scratch_remove(struct scratch *scratch, char *path)
{
	strv_take(&scratch->removals, path);
	loop_timer_start(scratch->timer, TURN_MS);
}

/* ---------------------------------------------------------------- folders */

struct scratch *scratch_new(struct loop *loop)
{
	struct scratch *scratch = xnew(struct scratch);

	scratch->timer = loop_timer_new(loop, on_turn, scratch);
	return scratch;
}

void scratch_free(struct scratch *scratch)
{
	if (!scratch)
		return;
	loop_timer_free(scratch->timer);
	strv_done(&scratch->removals);
	free(scratch);
}

/* Numbers, for a container's id may come again while its folder is still being removed. */
int scratch_make(struct scratch *scratch, char **ret_path, struct error *err)
{
	_cleanup_free_ char *path = xasprintf(GUEST_SCRATCH "/%u", scratch->next++);

	if (mkdir(path, 0700) < 0)
		return error_set_errno(err, errno, "cannot make the folder %s", path);
	*ret_path = steal_ptr(path);
	return 0;
}
