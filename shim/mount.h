/* Mounts in containerd's notation (type, source, options as in fstab) on a folder that is held
 * by a descriptor. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct mount_spec {
	const char *type;
	const char *source;
	char *const *options;
	size_t noptions;
};

/* Mounts on name in the folder dir_fd (not a link: checked), private to this mount namespace.
 * Options longer than a page (an overlay of many layers) are made shorter by their common
 * folder. -EINVAL with the option that is not understood; else mount(2)'s. */
_must_check_ int mount_at(int dir_fd, const char *name, const struct mount_spec *spec,
			  struct error *err);

/* Binds source on name in dir_fd. */
_must_check_ int mount_bind_at(int dir_fd, const char *name, const char *source, bool recursive,
			       bool readonly, struct error *err);

/* Takes away all that is mounted there, at once for new users (MNT_DETACH). */
void mount_remove_at(int dir_fd, const char *name);
