/* The folder of the cache of images, as the factory keeps it: what is in it, whose it is, and that
 * it stays within its bound. All of it blocks (it reads the folder anew each time, so that nothing
 * known of it can be wrong) and is for worker threads; factory/images/images.h is for the loop.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "factory/cache/image_record.h"

#define IMAGE_STORE_MOUNT     "mnt"        /* an empty folder: see factory/images/image_make.c */
#define IMAGE_STORE_TEMPORARY ".erofs.tmp" /* after the key, while it is made */

/* All owned. */
struct stored_image {
	struct image_record record;
	uint64_t last_used; /* seconds since the epoch; to be sorted by, oldest first: last_used_ns
			     */
	uint64_t last_used_ns;
	bool in_use;
	char *damage; /* why it cannot be opened; NULL: it can */
};

/* `struct stored_images s = {};` is an empty one. */
struct stored_images {
	struct stored_image *items; /* least recently used first */
	size_t count;
	uint64_t bytes; /* of all together */
};

/* Makes the folder where there is none (mode 0700), makes sure that it is root's alone, takes it
 * (a lock, as long as *ret_lock_fd: -EADDRINUSE) and removes what a killed factory left: images
 * without a record, records without an image, images that are not what was made. */
_must_check_ int image_store_take(const char *dir, int *ret_lock_fd, struct error *err);

/* Whether the folder is still the one that was taken: -ESTALE, with what to say. */
_must_check_ int image_store_check(const char *dir, int lock_fd, struct error *err);

_must_check_ int image_store_list(const char *dir, struct stored_images *ret, struct error *err);
void stored_images_done(struct stored_images *images);

/* Removes the least recently used that nobody has open until `bytes` more fit into limit; what is
 * there of `key` counts as gone. -ENOSPC: what is in use leaves too little, and all stays. */
_must_check_ int image_store_make_room(const char *dir, const char *key, uint64_t bytes,
				       uint64_t limit, struct error *err);

/* Removes one by its key, the beginning of it (8 digits at least) or its name. -ENOENT; -EBUSY: it
 * is in use, or several are meant. */
_must_check_ int image_store_remove(const char *dir, const char *key_or_name, uint64_t *ret_freed,
				    struct error *err);

/* Removes all that nobody has open. */
_must_check_ int image_store_prune(const char *dir, uint64_t *ret_freed, uint32_t *ret_count,
				   struct error *err);
