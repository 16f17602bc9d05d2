/* virtio-fs devices, known by their tag: they are plugged in while the guest runs. */
#pragma once

#include "base/error.h"

/* Waits, some seconds at most, until there is a device with this tag. -ENODEV: there is none. */
_must_check_ int virtio_fs_wait(const char *tag, struct error *err);

/* Forgets what is not in use of what the guest has looked at. Until then the host's daemon has it
 * open, and so keeps the host from taking away the file system that it is on. A failure is logged.
 */
void virtio_fs_forget(const char *mount_point);
