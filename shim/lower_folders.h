/* The folders on the host that a machine's guest reads layers from, by its lower share
 * (SHARE/lower/N/rootfs), where it has no image of them.
 *
 * The guest knows a file by what it is on the host (device and inode), keeps what it has read of
 * it, and asks for it by the name it had first. So the same layers are one folder for all
 * containers of the machine, and it stays mounted until the machine ends: by a second name, or
 * after the first one is gone, the guest would find nothing in it.
 */
#pragma once

#include "base/error.h"
#include "shim/share_folder.h"

#define LOWER_ROOT "rootfs" /* where the layers are mounted in the folder */

struct lower_folders;

struct lower_folder {
	char *name;     /* owned; in the share */
	char *identity; /* owned; of the layers */
	struct share_folder folder;
};

struct lower_folders *lower_folders_new(const char *share_dir); /* copied */

/* Unmounts them all; what a process still uses goes when it does. */
void lower_folders_free(struct lower_folders *folders);
DEFINE_CLEANUP(struct lower_folders *, lower_folders_free)

/* That with these layers, or NULL; it is the list's. */
const struct lower_folder *lower_folders_find(const struct lower_folders *folders,
					      const char *identity);

/* A new one with an empty folder, for the caller to mount the layers in. */
_must_check_ int lower_folders_add(struct lower_folders *folders, const char *identity,
				   const struct lower_folder **ret, struct error *err);

/* Removes the one added last: its layers could not be mounted. */
void lower_folders_undo(struct lower_folders *folders);
