#include "agent/scratch.h"

#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "agent/disk.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "proto/guest_disks.h"

/* Inode tables are zero already (factory/store/device_files.c). What is not used any more goes back
 * to the host, with a commit of the journal. No crash is waited for, so data need not be written
 * before it, and it can come late: a clone that is warmed has none, whose code an emulated machine
 * would keep. */
#define EXT4_OPTIONS "noinit_itable,nobarrier,discard,data=writeback," SCRATCH_COMMIT

struct scratch {
	unsigned next; /* number of the next folder */
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

/* ---------------------------------------------------------------- folders */

struct scratch *scratch_new(void)
{
	return xnew(struct scratch);
}

void scratch_free(struct scratch *scratch)
{
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

void scratch_remove(const char *path)
{
	_cleanup_(error_done) struct error err = {};

	if (path_remove(path, &err) < 0)
		log_warning(NULL, "a folder is left: %s", error_message(&err));
}
