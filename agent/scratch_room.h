/* How much of the scratch disk the guest may use.
 *
 * The disk's file on the host is thin (factory/guest/disks.h): a write that the host has no room
 * for comes back as EIO, and long after the program has written it, for the guest writes its cache
 * back later. So the guest is told what the host has left, and its own file system refuses what
 * would not fit, with ENOSPC, when a container writes and not when the cache is written back.
 *
 * ext4's reserved_clusters does that. Nobody gets it, not even root or CAP_SYS_RESOURCE (which only
 * get at the reserve of the superblock), and `df` shows it as not available. Writes that were
 * accepted before are safe from it, because they count as used from the write() on. Only the last
 * blocks of a file system's own trees come out of it. (fs/ext4/balloc.c, ext4_has_free_clusters();
 * fs/ext4/super.c, ext4_statfs() and ext4_calculate_resv_clusters(); Linux 6.12.)
 *
 * What the cache holds and the host has not seen yet takes room that the host still counts as free.
 * It is subtracted here, and near the end it is kept small and written soon: so other machines,
 * which do not know of it, see the host's true figure.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

/* Below this much the guest writes its cache back at once. */
#define SCRATCH_ROOM_NEAR ((uint64_t)2 << 30)

/* bytes: what the host has for the disk's file to grow by. -ENODEV where there is no such disk.
 * Some files of /proc and /sys; it does not wait for the disk. */
_must_check_ int scratch_room_set(uint64_t bytes, struct error *err);

/* The reserve, in blocks, for a file system of so many blocks of which so many are free, where
 * `room` more can be written. */
uint64_t scratch_room_reserve(uint64_t blocks, uint64_t free_blocks, uint64_t room);

/* The bytes that are not written back yet, by the text of /proc/meminfo. -EPROTO: it does not say.
 */
_must_check_ int scratch_room_unwritten(const char *meminfo, uint64_t *ret_bytes,
					struct error *err);
