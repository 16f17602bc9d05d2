/* A container's root file system in the guest: an overlay whose writable side is on the guest's
 * scratch disk, or on a disk of the container's own, and whose lower side is one of
 *
 *   an image     an EROFS image in a DAX window (factory/guest/dax_window.h) or on a slot
 *                (factory/guest/disks.h)
 *   images       EROFS images of layers, one after another in a window or on a slot
 *   a folder     that the lower share (GUEST_LOWER_TAG) leads to
 *
 * The options are Kata's: driver "overlayfs" with io.katacontainers.fs-opt.overlay-rw has the
 * agent make the upper and the work folder. */
#pragma once

#include "base/strv.h"
#include "factory/guest/storages.h"

#define GUEST_LOWER "/run/kata-containers/lower" /* where the lower share is mounted */

/* Where the root of a container is; the caller frees. */
char *guest_root_path(const char *container_id);

/* The image in a window, or one that the machine carries, whose device is given, mounted with DAX;
 * as that on a slot. */
char *guest_root_add_window(struct storages *list, const char *device);

/* The image on a slot, mounted; returns where, to be freed by the caller. All containers that ask
 * for it share the mount. */
char *guest_root_add_slot(struct storages *list, size_t slot);

/* The images of layers in a window (of which the device is given, and which is mounted with DAX),
 * or on a slot, each mounted on a folder of its own, which are appended to folders. layout: for
 * each, where it lies (agent/layers.h), topmost first. Shared in the same way. */
void guest_root_add_window_layers(struct storages *list, const char *device,
				  const struct strv *layout, struct strv *folders);
void guest_root_add_slot_layers(struct storages *list, size_t slot, const struct strv *layout,
				struct strv *folders);

/* The overlay over lowers, folders of the guest, topmost first. upper: the guest's folder in which
 * the folders `upper` and `work` are, or are made; NULL: on the scratch disk. */
void guest_root_add_overlay(struct storages *list, const char *container_id,
			    const struct strv *lowers, const char *upper);

/* The mount of the lower share, which stays when its sandbox ends (kiln.keep). */
void guest_root_add_lower_share(struct storages *list);
