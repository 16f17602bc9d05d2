/* The disks of a machine (virtio-blk), which are in its template and waiting in each clone:
 *
 *   scratch   what containers write: an ext4 that is made with the template and mounted by the
 *             agent before the template is frozen. A clone has a copy of its own, a file without
 *             a name that ends with the VMM; only what is written takes up room. Nothing in it
 *             outlives the machine, so the host never flushes it. Where the host has less room than
 *             the disk is large, the guest is told: shim/scratch_watch.h.
 *   slot N    read-only, for the EROFS image of a container's layers that no DAX window
 *             (factory/guest/dax_window.h) takes. Until it is given one
 *             (blockdev-reopen on a running machine) it holds a copy of the root image, from
 *             which the warming's container runs. The guest sees the size of that file for ever,
 *             so it is as large as an image can be, and a hole for the most part.
 *
 * Where the definition of the machine has the bridge, more can be plugged in while it runs.
 *
 * The guest's side of it: proto/guest_disks.h.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

#define DISKS_SCRATCH_MIB     10240              /* default size */
#define DISKS_SCRATCH_MIN_MIB 16                 /* of which a file system can be made */
#define DISKS_SCRATCH_MAX_MIB (16 * 1024 * 1024) /* what an ext4 of blocks of 4 KiB can be */
#define DISKS_SLOTS           4
#define DISKS_SLOTS_MAX       6 /* PCI slots between DISKS_PCI_SLOT and the bridge's, 0xf */
#define DISKS_SLOT_BYTES      ((uint64_t)64 << 30)

/* Files in a template's folder. */
#define DISKS_SCRATCH     "scratch"     /* as it was when the memory was frozen */
#define DISKS_SCRATCH_NEW "scratch-new" /* as it was made: of machines that are booted */
#define DISKS_SLOT        "slot"

#define DISKS_PCI_SLOT 0x8 /* of the scratch disk; slot N follows it */

/* QEMU's name of the bridge in templates/machine.xml on which further disks (shim/disks.h) and
 * network cards are plugged in, on its slots 1 to DISKS_PLUGGED_MAX. */
#define DISKS_BRIDGE      "disks"
#define DISKS_PLUGGED_MAX 31

/* QEMU's name of a slot's node and device, as "slot0". */
#define DISKS_SLOT_NODE "slot%zu"
