/* The file system a container sees: made by its first process in its own mount namespace,
 * from outside the root until the last step.
 *
 * Order: the root bound onto itself; the spec's mounts in their order; the machine id; devices
 * and links in /dev; [the caller's turn: terminal]; masked and read-only paths; read-only root;
 * pivot.
 */
#pragma once

#include "agent/mount_options.h"
#include "proto/oci.pb-c.h"

struct mount_plan {
	const Grpc__Mount *mount; /* borrowed */
	const char *type;         /* of the file system; borrowed */
	struct mount_options options;
};

struct rootfs_plan {
	const Grpc__Spec *spec;    /* borrowed */
	struct mount_plan *mounts; /* owned */
	size_t nmounts;
	bool bind_dev; /* /dev is somebody else's: nothing is made in it */
	uint64_t propagation;
	bool propagation_tree;
	int proc; /* borrowed; shown where proc is to be mounted; -EBADF: a new one */
};

/* Checks and reads the spec, which must outlive the plan. */
_must_check_ int rootfs_plan_init(const Grpc__Spec *spec, struct rootfs_plan *ret,
				  struct error *err);
void rootfs_plan_done(struct rootfs_plan *plan);

/* Whether it can be done with `proc`, which the child sets: -EOPNOTSUPP where proc has options of
 * its own, or is there twice. */
_must_check_ int rootfs_plan_share_proc(const struct rootfs_plan *plan, struct error *err);

/* For the child, in its new mount namespace. The caller owns *ret_root. */
_must_check_ int rootfs_prepare(const struct rootfs_plan *plan, int *ret_root, struct error *err);

/* Locks it down and makes it the root; the current folder is its "/" then. */
_must_check_ int rootfs_enter(const struct rootfs_plan *plan, int root, struct error *err);
