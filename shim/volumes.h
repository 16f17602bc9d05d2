/* A container's volumes: the bind mounts of its configuration whose sources are on the host.
 *
 * The host binds each into the share, at SHARE/ID/mounts/N (read-only ones on the host too), and
 * the guest binds it from there. Sources in /dev, /proc and /sys stay: they mean the guest's own.
 *
 * mount(2) of these kinds takes well under a millisecond and is called on the loop.
 */
#pragma once

#include "base/error.h"
#include "proto/oci.pb-c.h"
#include "shim/idmap.h"
#include "shim/share_folder.h"

struct volumes;

struct volumes_options {
	const struct share_folder *folder; /* the container's; must outlive the volumes */
	const char *container_id;
	const char *scratch_dir;   /* made where it is missing; empty again afterwards */
	const struct idmap *idmap; /* the machine's */
};

/* Mounts them and changes the sources in oci's mounts to the guest's paths. All borrowed. On
 * failure nothing is left mounted. Errors name the source. */
_must_check_ int volumes_mount(Grpc__Spec *oci, const struct volumes_options *options,
			       struct volumes **ret_volumes, struct error *err);

/* Unmounts them; what a process still uses goes when it does. Frees. */
void volumes_unmount(struct volumes *volumes);
DEFINE_CLEANUP(struct volumes *, volumes_unmount)
