/* A container's files in the share: the share driver of the design.
 *
 *   SHARE/ID/rootfs      what containerd gave: its mounts (overlay, bind, ...) or, where there are
 *                        none, a bind mount of the bundle's own rootfs
 *   SHARE/ID/mounts/N    volume N of the spec, bind-mounted; read-only ones on the host too
 *
 * A VMM that is root can write into SHARE, so no path below it is trusted: folders are made and
 * mounted on by descriptor, never through a link. mount(2) of these kinds takes well under a
 * millisecond and is called on the loop.
 */
#pragma once

#include "base/error.h"
#include "proto/containerd_mount.pb-c.h"
#include "shim/idmap.h"
#include "shim/spec.h"

struct rootfs;

struct rootfs_options {
	const char *share_dir;     /* of the machine, on the host */
	const char *scratch_dir;   /* made where it is missing; empty again afterwards */
	const struct idmap *idmap; /* the machine's */
	const char *container_id;
	const struct spec *spec; /* after spec_for_guest() */
	Containerd__Types__Mount *const *mounts;
	size_t nmounts;
};

/* All borrowed. On failure nothing is left mounted. Errors name the source: -ENOENT becomes
 * -EINVAL, for to containerd "not found" is a task. */
_must_check_ int rootfs_mount(const struct rootfs_options *options, struct rootfs **ret_rootfs,
			      struct error *err);

/* Unmounts and removes everything; what a process still uses goes when it does. Frees. */
void rootfs_unmount(struct rootfs *rootfs);
DEFINE_CLEANUP(struct rootfs *, rootfs_unmount)
