/* The virtio-fs device of a machine, which is plugged in while the guest runs. */
#pragma once

#include "agent/uevents.h"

/* Calls `mount`, which mounts the device by its tag, again and again until the device is there, for
 * some seconds at most. Returns the result of the last call. */
_must_check_ int virtio_fs_mount(uevents_try_fn mount, const void *data, struct error *err);

/* Makes the guest forget the files that it has looked up and does not use. Until then the host's
 * daemon has them open, and the host cannot unmount the file system they are on. A failure is
 * logged.
 */
void virtio_fs_forget(const char *mount_point);
