/* Mounts in the mount namespace of a machine's VMM that are not in that of the host. Paths are
 * those of folders and files of the machine's share, which have the same names in there; a link in
 * one of them is an error. The mounts go with the namespace, at the latest, or when what they are
 * on is removed by the host. */
#pragma once

#include "shim/idmap.h"

/* Attaches a mount that is attached nowhere (open_tree(2)). */
_must_check_ int jail_mount_attach(int vmm_pidfd, int tree, const char *path, struct error *err);

/* Replaces what is mounted on path, and below it, by the same with the machine's ids (and nodev,
 * nosuid, noexec). -EINVAL: its file system, or one below it, knows no idmapped mounts; it is as
 * before then. */
_must_check_ int jail_mount_map(int vmm_pidfd, const char *path, const struct idmap *idmap,
				struct error *err);
