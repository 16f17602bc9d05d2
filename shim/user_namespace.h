/* A container's user namespace (linux.uidMappings, gidMappings, and the mappings of its mounts).
 *
 * The machine is what a user namespace is for, so the guest maps nothing: /proc/self/uid_map shows
 * "0 0 4294967295", and uid N of the container is uid N of the guest. With runc the same uid N is
 * the host's N + X, and idmapped mounts show uid N on disk as N + X; so on disk it is N by both.
 * That is why a container with mappings runs where all that it has of the host is mounted with
 * these very mappings:
 *
 *   the root    the snapshotter's mounts have them as the options uidmap= and gidmap=. Without
 *               them its files are shifted on disk (the copies of `ctr run --uidmap`), which the
 *               guest would show as it is: refused
 *   a mount     of the host's files has them in uidMappings and gidMappings, or the option idmap or
 *               ridmap. Without them runc shows files that are nobody's, and the guest would show
 *               them as the container's: refused. What the guest has of its own (docs/FILES.md,
 *               "Volumes") may come without
 *
 * Mappings that change nothing (containerID equals hostID) need none of that.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "proto/containerd_mount.pb-c.h"
#include "shim/spec.h"

/* What holds for a pod's sandbox container, of which the guest has nothing: where there is a user
 * namespace there are mappings, of root as well. -EINVAL with the field. */
_must_check_ int user_namespace_check(const struct spec *spec, struct error *err);

/* Checks them, and takes them out of the spec and of the root's mounts: afterwards they say what
 * the guest does. Before it user_namespace_check() must have been content. *ret_is_mapped: there
 * were some, hence the root must be made by the overlay (shim/rootfs.h). -EOPNOTSUPP, -EINVAL with
 * the field: they cannot be had. Before spec_for_guest(); looks at the host's files where there are
 * mappings. */
_must_check_ int user_namespace_take(struct spec *spec, Containerd__Types__Mount *const *root,
				     size_t nroot, bool *ret_is_mapped, struct error *err);
