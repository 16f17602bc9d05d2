/* A copy of a kubelet's volume on a tmpfs, shown to a machine where the kernel cannot idmap a tmpfs
 * (before Linux 6.3). Secrets, projected volumes, as each pod's token is in, and those of the
 * downward API are such.
 *
 * The form of these volumes is that of AtomicWriter in k8s.io/kubernetes,
 * pkg/volume/util/atomic_writer.go: a folder with the files, whose name has a time; a link `..data`
 * to it; and for each file or folder in it a link `NAME` to `..data/NAME`. New content is another
 * folder, to which `..data` is changed by rename(2), and the old one is removed. Besides there may
 * be folders on which other volumes are mounted.
 *
 * The copy is a tmpfs of its own, which the machine sees read-only (nodev, nosuid, noexec) and the
 * shim alone writes to, by a descriptor. So it is gone when the shim is and the container's mounts
 * are, whoever unmounts these, and leaves nothing.
 *
 * It follows the volume: what inotify tells is looked at VOLUME_COPY_SETTLE_MS later, and a new
 * folder is whole before the copy's `..data` leads there. The old one is removed at the next look,
 * which is made a second later at the latest. A look that fails is logged, leaves what was there,
 * and is made again after a second, then two, and so on up to a minute. Without an inotify
 * (fs.inotify.max_user_instances) it looks every 5 s.
 *
 * A subPath of such a volume is a folder of one of the folders with a time, and is copied once: no
 * kubelet changes these. The host can unmount a volume while there is a copy of it.
 *
 * At most 8 MiB and 2048 files, folders and links: a Secret and a ConfigMap have 1 MiB each at
 * most, and a projected volume is made of several. Copying that many takes some tens of
 * milliseconds.
 */
#pragma once

#include "base/error.h"
#include "base/loop.h"
#include "shim/mount.h"
#include "shim/mountinfo.h"

#define VOLUME_COPY_BYTES_MAX   (8u << 20)
#define VOLUME_COPY_ENTRIES_MAX 2048u
#define VOLUME_COPY_SETTLE_MS   100

struct volume_copy;

enum volume_form {
	VOLUME_FORM_OTHER, /* no kubelet's: nothing is known of how it changes */
	VOLUME_FORM_WHOLE, /* the folder with `..data` */
	VOLUME_FORM_PART,  /* a folder of what `..data` leads to: a subPath */
};

/* Of a folder (absolute, without links) on a tmpfs. */
enum volume_form volume_form_of(const char *path, const struct mountinfo *info);

/* Copies the folder, of the form WHOLE or PART, and mounts the copy on the place. loop is borrowed.
 * -EFBIG: it is too large. On failure nothing is mounted. */
_must_check_ int volume_copy_new(struct loop *loop, const struct mount_place *place,
				 const char *path, enum volume_form form,
				 struct volume_copy **ret_copy, struct error *err);

/* The copy follows no more; what is mounted stays until the caller unmounts it. */
void volume_copy_free(struct volume_copy *copy);
DEFINE_CLEANUP(struct volume_copy *, volume_copy_free)
