/* The guest's disks, found by their serial number: there is no udev here. */
#pragma once

#include "base/error.h"

/* path: "/dev/disk/by-id/virtio-SERIAL" (proto/guest_disks.h), or any other path, which is taken as
 * it is. *ret_device ("/dev/vda") is the caller's. -ENODEV: there is no such disk. */
_must_check_ int disk_find(const char *path, char **ret_device, struct error *err);

/* Forgets what was read of the disk: the host may have given it another content since. */
_must_check_ int disk_forget(const char *device, struct error *err);

/* Makes all devices of persistent memory read-only: they are images, the guest's own root among
 * them, and what is written to such a device would show in the file system that is mounted from it,
 * even where that mount is read-only. Failures are logged. */
void disk_protect_images(void);
