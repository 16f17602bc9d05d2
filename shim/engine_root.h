/* A root that its engine has mounted itself: Docker and CRI-O name no mounts in Create, and their
 * config.json has the path of one. An overlay there cannot be shown to a machine as it is, because
 * an overlay knows no idmapped mounts; so it is read as what it was made by, and serves as if the
 * engine had named it (shim/rootfs.h). It stays mounted, for the engine: what the container writes
 * is not in it.
 */
#pragma once

#include "base/error.h"
#include "proto/containerd_mount.pb-c.h"
#include "shim/mountinfo.h"

/* The overlay that is mounted on path (absolute, without links), as a mount with lowerdir and
 * upperdir. Folders that are named from where the engine stood when it mounted are looked for two
 * folders above path: Docker and containers/storage keep a container's root in HOME/ID/merged, and
 * name its layers from HOME. *ret NULL: there is no overlay. To be freed with engine_root_free().
 */
void engine_root_find(const struct mountinfo *info, const char *path,
		      Containerd__Types__Mount **ret);

/* The same, of this process's mounts and the root of a spec. A root that is not there has no
 * overlay. */
_must_check_ int engine_root_read(const char *rootfs, Containerd__Types__Mount **ret,
				  struct error *err);

void engine_root_free(Containerd__Types__Mount *mount); /* NULL is nothing */
