/* A read-only overlay shown to a machine: an overlay knows no idmapped mounts, but its layers do,
 * so it is mounted once more of them. Images that CRI shows as volumes come as such; those of
 * containerd 2.4 have a folder for what is written, which stays empty. */
#pragma once

#include "base/error.h"
#include "shim/mount.h"
#include "shim/mountinfo.h"

/* Shows the folder path (absolute, without links) of the overlay entry on the place. -EOPNOTSUPP:
 * it is none, has been written to, or does not say where its layers are. */
_must_check_ int volume_overlay_mount(const struct mount_place *place,
				      const struct mountinfo_entry *entry, const char *path,
				      struct error *err);
