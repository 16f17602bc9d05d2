/* A container's root in the share: the share driver of the design.
 *
 *   SHARE/ID/rootfs      what containerd gave: its mounts (overlay, bind, ...) or, where there are
 *                        none, a bind mount of the bundle's own rootfs
 *
 * mount(2) of these kinds takes well under a millisecond and is called on the loop.
 */
#pragma once

#include "base/error.h"
#include "proto/containerd_mount.pb-c.h"
#include "shim/idmap.h"
#include "shim/share_folder.h"
#include "shim/spec.h"

struct rootfs;

struct rootfs_options {
	const struct share_folder *folder; /* the container's; must outlive the rootfs */
	const char *scratch_dir;           /* made where it is missing; empty again afterwards */
	const struct idmap *idmap;         /* the machine's */
	const struct spec *spec;           /* after spec_for_guest() */
	Containerd__Types__Mount *const *mounts;
	size_t nmounts;
};

/* All borrowed. On failure nothing is left mounted. Errors name the source. */
_must_check_ int rootfs_mount(const struct rootfs_options *options, struct rootfs **ret_rootfs,
			      struct error *err);

/* Unmounts it; what a process still uses goes when it does. Frees. */
void rootfs_unmount(struct rootfs *rootfs);
DEFINE_CLEANUP(struct rootfs *, rootfs_unmount)
