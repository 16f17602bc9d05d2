/* Mounts made with the descriptor calls of Linux 5.2: first a mount that is nowhere, then
 * attached to an open folder or file. No path is looked up twice, so nobody can put a symlink
 * between the check of a target and its use, and attributes hold from the first moment.
 *
 * A "tree" is the descriptor of such a mount; it names the mount after attaching, too.
 */
#pragma once

#include "agent/mount_options.h"

/* A new instance of a file system (or a view of one that has a single instance), with its
 * options set; a refusal carries the file system's own sentence where it left one. The
 * caller owns *ret_tree, here and below. */
_must_check_ int mount_new(const char *type, const char *source,
			   const struct mount_options *options, int *ret_tree, struct error *err);

/* The folder or file source once more, with its options set. */
_must_check_ int mount_bind(const char *source, const struct mount_options *options, int *ret_tree,
			    struct error *err);

/* What path (relative to dir; "" for dir itself) names, once more; with the mounts below it
 * if tree. */
_must_check_ int mount_copy(int dir, const char *path, bool tree, int *ret_tree, struct error *err);

_must_check_ int mount_set_readonly(int tree, bool with_mounts_below);

/* The attributes and the propagation of options; those of the file system are as they are. */
_must_check_ int mount_set_options(int tree, const struct mount_options *options);

_must_check_ int mount_attach(int tree, int target);

/* For a child: makes what is attached the root of its mount namespace, and leaves the old root. The
 * current folder is its "/" then. */
_must_check_ int mount_pivot(int tree, struct error *err);

/* Gives the file system that is mounted on path new options of its own (not attributes of the
 * mount). */
_must_check_ int mount_change(const char *path, const struct mount_options *options,
			      struct error *err);

/* mount_new() or mount_bind(), attached to a path of the agent's own. */
_must_check_ int mount_at(const char *type, const char *source, const struct mount_options *options,
			  const char *target, struct error *err);
