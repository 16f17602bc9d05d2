/* The parts of a container that are disks of its machine (shim/disks.h), and not folders of the
 * share:
 *
 *   its root   where the driver is `block` (shim/rootfs.h): what a snapshotter like blockfile or
 *              devmapper gives, one mount of a device, or of a file with the option `loop`
 *   its upper  the image that an EROFS snapshotter has for what is written (shim/upper_image.h), in
 *              which the guest has the writable side of the root's overlay
 *   a volume   a mount of its spec of the same kind, or a bind mount of a direct volume
 *              (proto/direct_volume.h). The guest mounts the file system once for all
 *              containers of the pod, and each shows it where it wants it
 *   a device   a block device of the spec, by the host's numbers (CRI's volumeDevices,
 *              `ctr run --device`). The node in the container has the mode and owner asked for,
 *              and the guest's numbers; the disk is read-only where the device cgroup's rules
 *              let it be read alone
 *
 * A privileged container's list has all of the host's devices, under their own names and without a
 * rule for each: such are left out, but for loop devices. By these numbers the guest has its own.
 *
 * A read-only root, device or mount has its disk read-only on the host as well, unless the pod
 * writes to it already. A direct volume belongs to one pod, whose containers may come in any order:
 * its disk is read-only where its own options say `ro`, and a mount's `ro` is the guest's to keep.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "factory/guest/storages.h"
#include "proto/agent.pb-c.h"
#include "proto/containerd_mount.pb-c.h"
#include "shim/disks.h"
#include "shim/layer_mounts.h"

struct container_disks;

struct container_disks_options {
	struct disks *disks;
	const char *run_dir; /* with the direct volumes */
	const char *sandbox_id;
	const char *shim_address; /* noted with them (proto/direct_volume.h) */
	const char *container_id;
	Grpc__Spec *oci;
	Containerd__Types__Mount *const *root; /* NULL: the root is no disk */
	const struct layer_writable *upper;    /* NULL, or without a path: there is none */
};

/* True where a root is a single mount, of a disk; false for the image of a layer (EROFS,
 * shim/layer_mounts.h), over which there is an overlay. */
bool container_disks_have_root(Containerd__Types__Mount *const *mounts, size_t nmounts);

/* Makes the list of what is to be attached, and removes from oci the block devices that are not
 * shown. All borrowed until it is attached. *ret is NULL where there is nothing to attach. */
_must_check_ int container_disks_new(const struct container_disks_options *options,
				     struct container_disks **ret, struct error *err);

/* fn is called once, from the loop: all are there, or not (then it is told which of them, and why).
 */
typedef void (*container_disks_fn)(int number, const struct error *err, void *userdata);
void container_disks_attach(struct container_disks *disks, container_disks_fn fn, void *userdata);

/* Attached ones: appends what the guest is to mount for the upper folder, and where, for the caller
 * to free; NULL: there is none. Before the overlay's own storage. */
char *container_disks_show_upper(const struct container_disks *disks, struct storages *storages);

/* Attached ones: changes the mounts of oci, and appends what else the guest is to mount. */
void container_disks_show(struct container_disks *disks, Grpc__Spec *oci,
			  struct storages *storages);
/* An error of the guest's that has a disk's number is told which file that is. */
void container_disks_explain(const struct container_disks *disks, struct error *err);

/* The devices of CreateContainer; borrowed. */
size_t container_disks_devices(const struct container_disks *disks, Grpc__Device ***ret);

/* The disk of a direct volume, and where the guest has mounted it, for the caller to free; NULL:
 * there is none of this path. Borrowed. */
struct disk *container_disks_find_volume(const struct container_disks *disks, const char *path,
					 char **ret_guest_path);

/* Gives them back, when the guest has removed the container, or has never made it; frees. fn (may
 * be NULL) is called once, from the loop, when the machine has them no more; NULL disks: never. An
 * attach under way is told -ECANCELED. */
void container_disks_release(struct container_disks *disks, void (*fn)(void *userdata),
			     void *userdata);
