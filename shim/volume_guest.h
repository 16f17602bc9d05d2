/* Volumes that only the guest has (kinds FOLDER and MEMORY of shim/volume_kind.h). */
#pragma once

#include "base/error.h"
#include "factory/guest/storages.h"
#include "shim/volume_kind.h"

/* The one /dev/shm of all containers of a pod that share their IPC namespace. Each of them names a
 * tmpfs; the first one's options are those of all. */
void volume_guest_add_shm(Grpc__Mount *mount, struct storages *storages);

/* Appends what the guest has to make for the volume, and has the mount show it: the whole of it,
 * and each level of a sub-path. Mode and owner are those of the host's folders, and the size of a
 * tmpfs is the host's. */
_must_check_ int volume_guest_add(Grpc__Mount *mount, enum volume_kind kind,
				  const struct volume_home *home, struct storages *storages,
				  struct error *err);
