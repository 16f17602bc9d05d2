/* Images a template carries, in a container: an OCI mount
 *
 *   { "type": "kiln-image", "source": NAME, "destination": PATH, "options": ["ro"] }
 *
 * shows the image NAME of the machine's template at PATH. The guest mounts the image's device
 * once, with DAX, where nobody else looks (a storage of CreateContainer, shared by the pod's
 * containers), and the mount becomes a read-only bind mount of that.
 */
#pragma once

#include "base/error.h"
#include "factory/guest/storages.h"
#include "proto/agent.pb-c.h"
#include "shim/sandbox.h"

#define IMAGES_MOUNT_TYPE "kiln-image"

/* Changes oci's mounts and appends what the guest needs for them. -EINVAL: the machine carries no
 * such image, with what to do. */
_must_check_ int images_mount(Grpc__Spec *oci, const struct sandbox *sandbox,
			      struct storages *storages, struct error *err);
