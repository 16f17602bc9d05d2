/* A container's volumes: the bind mounts of its configuration. shim/volume_kind.h says which kind
 * each is, docs/FILES.md what users see.
 *
 *   HOST            SHARE/ID/mounts/N, where the host binds it and the guest takes it from: by
 *                   the 9p share, or by virtio-fs (shim/virtiofs.h) where that was asked for.
 *                   Read-only ones are so on the host too: `ro` the mount itself, `rro` those
 *                   below it as well
 *   FOLDER, MEMORY  a storage of the guest, the same one for all containers of the pod, which
 *                   stays for as long as the machine. Mode, owner and size are those of the host's
 *
 * A HOST volume with mounts below it, or to come below it (rslave), is mounted where the VMM alone
 * sees it: the host could not remove their mount points else. Not with virtio-fs, whose daemon has
 * mounts of its own.
 *
 * Where a HOST volume's file system knows no idmapped mounts (shim/idmap.h), a read-only overlay
 * is mounted anew of its layers, a read-only file of at most 1 MiB is copied, and so is what a
 * kubelet has put on a tmpfs to be read, which is followed (shim/volume_copy.h); others are refused
 * by name.
 *
 * mount(2) of these kinds takes well under a millisecond and is called on the loop.
 */
#pragma once

#include "base/error.h"
#include "base/strings.h"
#include "factory/guest/storages.h"
#include "proto/oci.pb-c.h"
#include "shim/idmap.h"
#include "shim/share_folder.h"

/* "9p", "virtiofs", "virtiofs-locks": the last is the second with the host's locks (enum
 * virtiofs_locks in shim/virtiofs.h). */
enum volumes_driver { VOLUMES_9P, VOLUMES_VIRTIOFS, VOLUMES_VIRTIOFS_LOCKS };
DECLARE_STRING_TABLE(volumes_driver, enum volumes_driver);

struct volumes;

struct volumes_options {
	enum volumes_driver driver;        /* by which the guest reaches those of the kind HOST */
	const struct share_folder *folder; /* the container's; must outlive the volumes */
	const char *container_id;
	const char *scratch_dir;   /* made where it is missing; empty again afterwards */
	const struct idmap *idmap; /* the machine's */
	struct loop *loop;         /* borrowed */
	pid_t vmm_pid;             /* the machine's */
	int vmm_pidfd;             /* ditto; borrowed */
	bool shares_shm;           /* a tmpfs on /dev/shm is the pod's */
};

/* Mounts them, changes the sources in oci's mounts to the guest's paths, and appends the storages
 * that the guest needs. All borrowed. On failure nothing is left mounted. Errors name the source.
 */
_must_check_ int volumes_mount(Grpc__Spec *oci, const struct volumes_options *options,
			       struct storages *storages, struct volumes **ret_volumes,
			       struct error *err);

/* Unmounts them; what a process still uses goes when it does, and what the VMM alone sees when the
 * container's folder does. Frees. */
void volumes_unmount(struct volumes *volumes);
DEFINE_CLEANUP(struct volumes *, volumes_unmount)
