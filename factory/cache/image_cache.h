/* The node's cache of images: the read-only layers of a container's root filesystem, merged into
 * one EROFS image that a waiting DAX window or block slot of a machine can be given.
 *
 * An image is known by its key: a digest over what the folders of the layers are (device, inode,
 * time of birth, in order), not over their content. A committed snapshot of containerd does not
 * change, and what takes its place is another folder; no other folders may be given here.
 *
 *   CACHE_DIR/KEY.erofs   the image
 *   CACHE_DIR/KEY.json    what is known of it (factory/cache/image_record.h), written last. Its
 *                         modification time is when the image was last opened.
 *
 * The factory alone has images made and removed (factory/images/images.h); whoever starts
 * containers opens them. One that is open is not removed: image_open() locks it, and the lock goes
 * with the last copy of the descriptor, so a machine that was given one keeps it. The lock is an
 * open file description's (F_OFD_SETLK) on byte 0, which can be asked for without being taken, and
 * which QEMU's own locks (from byte 100) do not touch.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/strv.h"

/* layers: absolute paths of folders, topmost first, as in an overlay's lowerdir; some system calls
 * for each. -EINVAL: none, too many (IMAGE_LAYERS_MAX), or no folder; -ENOENT; -EOPNOTSUPP: the
 * file system does not know times of birth, so there can be no image. */
_must_check_ int image_key(const struct strv *layers, char ret_key[static DIGEST_HEX_SIZE],
			   struct error *err);
/* The same of folders that are open (O_PATH is enough); `layers` names them in errors. */
_must_check_ int image_key_of(const struct strv *layers, const int *fds,
			      char ret_key[static DIGEST_HEX_SIZE], struct error *err);

/* Opens an image to be read, locks it and notes that it was used. It does not read the content and
 * does not wait. ret_bytes is a multiple of 4096.
 *
 * -ENOENT: it is not there, or about to be removed. -EBADMSG: what is there is not what was made
 * (size, magic, inode or time of change); the caller does without it, and a request has it made
 * anew. */
_must_check_ int image_open(const char *cache_dir, const char *key, int *ret_fd,
			    uint64_t *ret_bytes, struct error *err);

/* What image_open() checks, without opening it for use: its errors. ret_record (may be NULL) is
 * filled where there is a record that can be read, also on failure. */
struct image_record;
_must_check_ int image_check(const char *cache_dir, const char *key,
			     struct image_record *ret_record, struct error *err);

/* Whether anybody has the image open; false where it is not there. */
bool image_in_use(const char *cache_dir, const char *key);

/* Removes image and record. -EBUSY: it is in use; -ENOENT. ret_bytes (may be NULL): its size. */
_must_check_ int image_remove(const char *cache_dir, const char *key, uint64_t *ret_bytes,
			      struct error *err);
