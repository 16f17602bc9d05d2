/* Volumes by virtio-fs, where a machine's memory is its own (a template with "share": "never"): a
 * daemon of the host serves the machine's share, and reads and writes the guest's memory itself.
 *
 * The device's state cannot be migrated (QEMU 7.2), so no template has it: it is plugged into a
 * PCIe port that waits in such machines, by the claimer whose container asks for it.
 */
#pragma once

#include "factory/guest/storages.h"

#define VOLUMES_PORT "volumes-port" /* id of the port in QEMU */
#define VOLUMES_TAG  "kilnVolumes"  /* that the guest knows the device by */

/* The file system, which the pod's containers share, and the container's folder of it, below which
 * its volumes are mounted when they are looked at, and go with it. (Two mounts of one device would
 * not do: once something is mounted below, Linux 6.12 may take that for the device's root.) */
void guest_volumes_add(struct storages *list, const char *container_id);
/* Where SHARE/ID/NAME is in the guest; the caller frees. */
char *guest_volumes_path(const char *container_id, const char *name);
