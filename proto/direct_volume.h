/* Volumes that are given to a sandbox as the block device they are on, and not as the folder where
 * the host would have mounted it: Kata Containers' direct-assigned volumes. A storage plugin says
 * so of a path before the container is made (kiln-ctl direct-volume add); a bind mount whose source
 * is that path then becomes a disk of the machine (shim/container_disks.h).
 *
 *   RUN_DIR/direct-volumes/BASE64/      BASE64: of the path, of the alphabet file names can have
 *     mountInfo.json                    what was said of it
 *     SANDBOX                           the address of the shim whose sandbox has it; it stays
 *                                       where the shim was killed
 *
 * Source of the file's format: Kata Containers' docs/design/direct-blk-device-assignment.md.
 *
 *   { "volume-type": "block", "device": "/dev/sdf", "fstype": "ext4",
 *     "metadata": { KEY: TEXT }, "options": [ TEXT ] }
 *
 * Metadata that ask for what Kiln does not do (fsGroup, encryptionKey, ...) are refused.
 */
#pragma once

#include "base/error.h"
#include "base/strv.h"

#define DIRECT_VOLUMES "direct-volumes" /* folder of RUN_DIR */

struct direct_volume {
	char *device; /* owned: a device's or a file's absolute path */
	char *fstype; /* owned */
	struct strv options;
};

/* -EINVAL with what is wrong in the text. */
_must_check_ int direct_volume_parse(const char *text, size_t len, struct direct_volume *ret,
				     struct error *err);
void direct_volume_done(struct direct_volume *volume);

/* Replaces what was said of the path before. The text is parsed first. -ENAMETOOLONG: a path of
 * more than 189 bytes has no place. */
_must_check_ int direct_volume_add(const char *run_dir, const char *path, const char *text,
				   struct error *err);
/* A path of which nothing was said is none. */
_must_check_ int direct_volume_remove(const char *run_dir, const char *path, struct error *err);
/* -ENOENT: the path is no direct volume. */
_must_check_ int direct_volume_load(const char *run_dir, const char *path,
				    struct direct_volume *ret, struct error *err);

/* A sandbox has it attached from now on: the address of its shim (proto/volumes.proto). */
_must_check_ int direct_volume_note_user(const char *run_dir, const char *path,
					 const char *sandbox_id, const char *address,
					 struct error *err);
void direct_volume_forget_user(const char *run_dir, const char *path, const char *sandbox_id);
/* The address that was noted last; the caller frees it. -ENOENT: no sandbox has had it. */
_must_check_ int direct_volume_find_user(const char *run_dir, const char *path, char **ret_address,
					 struct error *err);
