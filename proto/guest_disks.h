/* What host and guest have agreed on about a machine's disks (factory/guest/disks.h): a disk is
 * known by its serial number, named as udev names it. */
#pragma once

#define GUEST_DISK_BY_ID   "/dev/disk/by-id/virtio-"
#define GUEST_DISK_SCRATCH "kiln-scratch"
#define GUEST_DISK_SLOT    "kiln-slot%zu"
#define GUEST_DISK_PLUGGED "kiln-disk%u" /* shim/disks.h; no number comes twice in a machine */

/* Where the agent mounts the scratch disk, or a tmpfs where there is none. */
#define GUEST_SCRATCH "/run/kiln/scratch"
