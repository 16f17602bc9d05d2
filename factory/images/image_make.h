/* One image of the cache, made: the layers merged into an EROFS image by mkfs.erofs.
 *
 * mkfs.erofs runs in a mount namespace of its own, where the overlay of the layers is mounted: the
 * mounts go with it, whatever ends it. It is killed when the factory dies. The layers are opened
 * once, and both the key and the overlay are of what was opened.
 *
 * Uncompressed, for a page is then read from the file into the guest as it is. What a file has is
 * kept: owner (32 bits), mode, times, extended attributes (capabilities and ACLs are such), hard
 * links, devices. Holes are not: a sparse file takes its whole size.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "base/strv.h"

/* All borrowed. */
struct image_making {
	const char *cache_dir;
	const char *key;
	const char *name; /* for the record; "" where there is none */
	const struct strv *layers;
	uint64_t limit_bytes; /* of the whole cache: others are evicted for it */
	int cancel_fd;        /* readable: give up */
};

/* Blocks for as long as it takes. It leaves either image and record or nothing; a killed one
 * leaves what image_store_take() removes (factory/images/image_store.h).
 *
 * -ESTALE: the layers have another key by now; -EFBIG: larger than the whole cache may be; -ENOSPC:
 * no room on the disk, or what is in use leaves none; -ENOENT: a layer or mkfs.erofs is missing;
 * -ECANCELED; -EIO: mkfs.erofs failed. The sentence says what to do. */
_must_check_ int image_make(const struct image_making *making, struct error *err);
