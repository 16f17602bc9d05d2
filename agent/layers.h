/* Images of layers that lie one after another on a disk, or on persistent memory. Each part of the
 * disk becomes a partition of its own: the kernel takes them by ioctl (BLKPG), without a table on
 * the disk, so there is no loop device with a cache of its own in between.
 *
 *   option N   "START+LENGTH,START+LENGTH,..." in sectors of 512 bytes: where the image of layer
 *              N is, and those that it refers to (EROFS' devices)
 *
 * Layer N is mounted on MOUNT_POINT/N, in a tmpfs, so all of them go with that one mount.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define LAYERS_PARTS_MAX 255 /* partitions of a disk */

struct layers_part {
	uint64_t start, length; /* bytes */
};

/* Reads one option; *ret_count: at most max parts. -EINVAL, -E2BIG. */
_must_check_ int layers_parse(const char *option, struct layers_part *parts, size_t max,
			      size_t *ret_count, struct error *err);

/* Partitions the disk (no part of it may be in use) and mounts; dax: what is read is the device's
 * own memory, whose parts have to be whole pages. On failure nothing is mounted. The error names
 * the layer by its number. */
_must_check_ int layers_mount(const char *device, bool dax, char *const *options, size_t count,
			      const char *mount_point, struct error *err);
