/* An overlay shown to a machine: an overlay knows no idmapped mounts, but its layers do, so it is
 * mounted once more of them. Images that CRI shows as volumes come as such, read-only: containerd
 * binds one that it has mounted (2.4 with a folder for what is written, which stays empty), CRI-O
 * writes one into the configuration, of one folder twice. */
#pragma once

#include "base/error.h"
#include "proto/oci.pb-c.h"
#include "shim/mount.h"
#include "shim/mountinfo.h"

/* Shows the folder path (absolute, without links) of the overlay entry on the place. -EOPNOTSUPP:
 * it is none, has been written to, or does not say where its layers are. */
_must_check_ int volume_overlay_mount(const struct mount_place *place,
				      const struct mountinfo_entry *entry, const char *path,
				      struct error *err);

/* The configuration itself asks for an overlay, of folders of the host. Where these are one and the
 * same, and nothing is to be written, it is a bind mount from now on, and this is false. */
bool volume_overlay_is_asked(Grpc__Mount *mount);

/* Mounts what it asks for on the place; what is left for the guest to do is a bind mount of that,
 * whose source the caller fills in. */
_must_check_ int volume_overlay_make(const struct mount_place *place, Grpc__Mount *mount,
				     struct error *err);
