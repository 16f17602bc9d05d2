/* Mounts in containerd's notation (type, source, options as in fstab) on a folder that is held
 * by a descriptor. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/mount.h>

#include "base/error.h"
#include "base/strv.h"
#include "shim/idmap.h"

struct mount_spec {
	const char *type;
	const char *source;
	char *const *options;
	size_t noptions;
};

/* Of what the VMM sees: it reads and writes, and neither opens devices nor runs anything. */
#define MOUNT_HARMLESS (MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)

/* Where to mount, and for whom. All borrowed. */
struct mount_place {
	int dir_fd; /* the folder with the mount point */
	const char *name;
	const struct idmap *idmap; /* whose ids files have there: uid N on disk is its uid N */
	const char *scratch;       /* folder of ours alone, mounted on in passing */
};

/* Mounts on the place (not a link: checked), private to this mount namespace but for what a
 * shared mount around it passes on. Options longer than a page (an overlay of many layers) are
 * made shorter by their common folder. -EINVAL with the option that is not understood, or where
 * a file system knows no idmapped mounts; else mount(2)'s.
 *
 * All mounts made here, and those below them, are nodev, nosuid and noexec: the host's side of a
 * share is only read and written, and a VMM that a guest broke out of has nothing to open or run
 * there. The guest knows nothing of it. */
_must_check_ int mount_at(const struct mount_place *place, const struct mount_spec *spec,
			  struct error *err);

enum bind_flags {
	BIND_TREE = 1 << 0,          /* with what is mounted below */
	BIND_READONLY = 1 << 1,      /* the mount itself, not those below it */
	BIND_READONLY_TREE = 1 << 2, /* those below it, too */
	BIND_SLAVE = 1 << 3,         /* what is mounted or unmounted below later is so here, too, if
				      * the source is a shared mount. As it is on the host: see
				      * shim/late_mounts.h */
};

/* Binds source on the place; the same otherwise. */
_must_check_ int mount_bind_at(const struct mount_place *place, const char *source, unsigned flags,
			       struct error *err);

/* The same, but in the mount namespace of the machine's VMM alone: what the host has mounted below
 * the source can be unmounted then, and its mount point removed, while the machine has its copy.
 * path is that of the place. It goes when the place is removed. */
_must_check_ int mount_bind_in_jail(const struct mount_place *place, int vmm_pidfd,
				    const char *path, const char *source, unsigned flags,
				    struct error *err);

/* Narrows what is mounted on the place to its folder `sub` (relative, without links). */
_must_check_ int mount_narrow_at(const struct mount_place *place, const char *sub,
				 struct error *err);

bool mount_folder_is_empty(const char *path); /* also where it cannot be read */

/* The layers of an overlay, topmost first, appended to layers. Its upper folder is one of them
 * where there is something in it already (*ret_has_upper). */
void mount_layers_of(const struct mount_spec *spec, struct strv *layers, bool *ret_has_upper);

/* Layers on the place, read-only: the folder itself where there is one, else an overlay. */
_must_check_ int mount_layers_at(const struct mount_place *place, const struct strv *layers,
				 struct error *err);

/* Makes what is mounted on the place read-only, with all that is mounted below. */
_must_check_ int mount_readonly_at(const struct mount_place *place, struct error *err);

/* Takes away all that is mounted there, at once for new users (MNT_DETACH). */
void mount_remove_at(int dir_fd, const char *name);
