/* The guest's disks, found by their serial number or their place: there is no udev here. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* path: "/dev/disk/by-id/virtio-SERIAL" (proto/guest_disks.h), a place on the PCI bus as Kata's
 * clients write it ("02/1c"), or any other path, which is taken as it is. *ret_device ("/dev/vda")
 * is the caller's. -ENODEV: there is no such disk. */
_must_check_ int disk_find(const char *path, char **ret_device, struct error *err);

/* A new disk is in sysfs a moment before it can be opened. Its event comes when it can. */
bool disk_is_ready(const char *device);

/* As disk_find(), for one that is being plugged in: waits for it, some seconds at most, while the
 * agent does nothing else. Who has time asks by FindDisk first (agent/disk_calls.h). */
_must_check_ int disk_await(const char *path, char **ret_device, struct error *err);

/* By the slots from the root bus down, over bridges. */
_must_check_ int disk_find_pci(const uint32_t *slots, size_t count, char **ret_device,
			       struct error *err);

/* Forgets what was read of the disk: the host may have given it another content since. */
_must_check_ int disk_forget(const char *device, struct error *err);

/* Makes all devices of persistent memory read-only: they are images, the guest's own root among
 * them, and what is written to such a device would show in the file system that is mounted from it,
 * even where that mount is read-only. Failures are logged. */
void disk_protect_images(void);
