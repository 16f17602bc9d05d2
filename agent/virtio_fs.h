/* The virtio-fs device of a machine, which is plugged in while the guest runs. */
#pragma once

#include "base/error.h"

/* Calls mount, which mounts it by its tag, until it is there, some seconds at most. Returns what
 * mount did last. */
typedef int (*virtio_fs_mount_fn)(const void *data, struct error *err);
_must_check_ int virtio_fs_mount(virtio_fs_mount_fn mount, const void *data, struct error *err);

/* Forgets what is not in use of what the guest has looked at. Until then the host's daemon has it
 * open, and so keeps the host from taking away the file system that it is on. A failure is logged.
 */
void virtio_fs_forget(const char *mount_point);
