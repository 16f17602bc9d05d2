#include "agent/virtio_fs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>

#include "agent/uevents.h"
#include "base/log.h"

enum { WAIT_MS = 10 * 1000 };

/* A tag that is not there yet is EINVAL; which there are is in sysfs since Linux 6.9 only. The
 * driver has added the device's when it is told to be bound. */
int virtio_fs_mount(uevents_try_fn mount, const void *data, struct error *err)
{
	int r = uevents_await(mount, data, EINVAL, WAIT_MS, err);

	return r == -EINVAL
		       ? error_wrap(err, "no virtio-fs device with this tag has come within %d s",
				    WAIT_MS / 1000)
		       : r;
}

/* The kernel lets go of all names that nobody uses when a file system is mounted anew. */
void virtio_fs_forget(const char *mount_point)
{
	_cleanup_close_ int fs = fspick(AT_FDCWD, mount_point, FSPICK_CLOEXEC);

	if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0)
		log_warning(NULL, "cannot let go of files of %s: %s", mount_point, strerror(errno));
}
