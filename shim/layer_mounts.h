/* The mounts of a root file system that containerd's EROFS snapshotter makes: read, not mounted.
 * The guest mounts the images they name (shim/layer_image.h), and its kernel is the first to look
 * into them.
 *
 * From containerd 2.4 on, all of it comes as it is (shim/bootstrap.h says why):
 *
 *   mkfs/ext4            SOURCE is the image for what is written, where default_size is configured;
 *                        its options say how to make it, should it not be there yet
 *   erofs                SOURCE is a layer's image, topmost first; options ro, loop, device=IMAGE
 *   format/mkdir/overlay with lowerdir={{ mount 1 }} or lowerdir={{ overlay 1 9 }},
 *                        upperdir={{ mount 0 }}/upper
 *   format/bind          of one layer alone, read-only
 *
 * or one erofs mount alone. Before 2.4, containerd mounts the images on the host and gives an
 * overlay whose lower folders are where they are mounted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/strv.h"
#include "proto/containerd_mount.pb-c.h"

/* Partitions of a disk (Linux: DISK_MAX_PARTS less the whole). */
#define LAYER_MOUNTS_IMAGES_MAX 255

/* One lower folder. */
struct layer_mount {
	char *path; /* owned; of the image; where is_folder, of what may be its mount point */
	struct strv devices; /* more images that it refers to */
	bool is_folder;
};

/* The image for what is written. */
struct layer_writable {
	char *path;     /* owned; NULL: there is none */
	char *fstype;   /* owned; ext2, ext3 or ext4 */
	char *uuid;     /* owned; of the file system, where it is to be made; NULL: any */
	uint64_t bytes; /* to make it with where the file is missing; 0: it must be there */
};

/* `struct layer_mounts m = {};` is an empty one. Without an image or a folder to write to it is a
 * view, read-only. */
struct layer_mounts {
	struct layer_mount *items; /* owned; topmost first */
	size_t count;
	struct layer_writable writable;
	char *upper; /* owned; the host's folder for what is written, or NULL */
};

/* Reads them; nothing is opened. *ret is empty where the mounts are of another kind: no type is
 * erofs or has a transform, nor is it an overlay alone. -EINVAL, -EOPNOTSUPP, -E2BIG: the mount and
 * what of it is not understood. */
_must_check_ int layer_mounts_parse(Containerd__Types__Mount *const *mounts, size_t nmounts,
				    struct layer_mounts *ret, struct error *err);

/* The same, with the image in the place of each folder where one is mounted. *ret is empty for an
 * overlay of which no lower folder is on an EROFS, too. -EOPNOTSUPP: another one is, and this one
 * is not, or what is mounted there is no file. A system call a layer, and for images that the host
 * has mounted the whole of /proc/self/mountinfo. */
_must_check_ int layer_mounts_find(Containerd__Types__Mount *const *mounts, size_t nmounts,
				   struct layer_mounts *ret, struct error *err);

void layer_mounts_done(struct layer_mounts *mounts);
