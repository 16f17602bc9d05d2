/* A container's root file system, by one of three drivers:
 *
 *   overlay   the guest mounts an overlay: what the container writes is on the guest's scratch disk
 *             and ends with the container, or is in the image that an EROFS snapshotter has for
 *             it (shim/upper_image.h); below it, read-only, are the layers that containerd
 *             names: their image (shim/layer_image.h), or the layers themselves through the share
 *             (factory/guest/guest_root.h). What an earlier task of the same container left in the
 *             upper folder on the host is the topmost of them.
 *   share     all of it is the host's, and the guest reads and writes it by virtio-9p: slower, and
 *             without what that cannot do (shared mappings, locks)
 *   block     what containerd gives is a device, or a file with the option `loop` (snapshotters
 *             like blockfile and devmapper): it becomes a disk of the machine, which the guest
 *             mounts (shim/container_disks.h). All is written to it
 *
 * Where the user asks for no other driver than the overlay, a root that `block` can serve gets
 * `block`.
 *
 * On the host:
 *
 *   SHARE/lower/N/rootfs   overlay: the layers, where the guest has no image of them
 *                          (shim/lower_folders.h)
 *   SHARE/ID/rootfs        share: what containerd gave, its mounts (overlay, bind, ...), or a
 *                          bind mount of the bundle's own rootfs where there are none
 *
 * mount(2) of these kinds takes well under a millisecond and is called on the loop.
 */
#pragma once

#include "base/error.h"
#include "base/strings.h"
#include "factory/guest/storages.h"
#include "proto/containerd_mount.pb-c.h"
#include "shim/idmap.h"
#include "shim/layer_image.h"
#include "shim/share_folder.h"
#include "shim/spec.h"

enum rootfs_driver { ROOTFS_OVERLAY, ROOTFS_SHARE, ROOTFS_BLOCK };
DECLARE_STRING_TABLE(rootfs_driver, enum rootfs_driver); /* "overlay", "share", "block" */

struct lower_folders;
struct rootfs;

/* The driver for what containerd gives, where the user wants this one; layers: what that is of an
 * EROFS snapshotter's. -EINVAL: it wants a device; -EOPNOTSUPP: it wants the host to mount images.
 */
_must_check_ int rootfs_choose(enum rootfs_driver wanted, const struct layer_mounts *layers,
			       Containerd__Types__Mount *const *mounts, size_t nmounts,
			       enum rootfs_driver *ret, struct error *err);

struct rootfs_options {
	enum rootfs_driver driver;
	struct lower_folders *lowers; /* the machine's */
	const struct share_folder
		*folder;           /* the container's in the share; must outlive the rootfs */
	const char *scratch_dir;   /* made where it is missing; empty again afterwards */
	const struct idmap *idmap; /* the machine's */
	const char *container_id;
	const struct spec *spec;         /* after spec_for_guest(); its root.path is set here */
	const struct layer_image *image; /* of the layers, for the overlay */
	const char *upper; /* the guest's folder for what is written; NULL: its scratch disk */
	Containerd__Types__Mount *const *mounts;
	size_t nmounts;
};

/* All borrowed. Appends what the guest is to mount to storages. On failure nothing is left mounted.
 * Errors name the source. */
_must_check_ int rootfs_mount(const struct rootfs_options *options, struct storages *storages,
			      struct rootfs **ret_rootfs, struct error *err);

/* Unmounts what is this container's alone; what a process still uses goes when it does. Frees. */
void rootfs_unmount(struct rootfs *rootfs);

/* The same right after rootfs_mount(), before the guest is told of it: nothing stays for others. */
void rootfs_undo(struct rootfs *rootfs);
DEFINE_CLEANUP(struct rootfs *, rootfs_undo)
