/* The user the template's QEMU runs as while it is baked (BAKE_USER, of Debian's libvirt), and what
 * root has to give it for that: libvirt is told to leave the owners of files alone. */
#pragma once

#include <sys/types.h>

#include "base/error.h"

struct bake_user {
	uid_t uid;
	gid_t gid;
};

/* -ENOENT names the package that makes it. */
_must_check_ int bake_user_find(struct bake_user *ret_user, struct error *err);

/* The user may pass through the folder to what it knows the name of: by the folder's group where
 * that is still root's, since nobody else is to get in. -EACCES: somebody has given the folder to
 * another group, which is not taken away from it. */
_must_check_ int bake_user_let_through(const struct bake_user *user, const char *folder,
				       struct error *err);

/* The folder or file becomes the user's. */
_must_check_ int bake_user_give(const struct bake_user *user, const char *path, struct error *err);

/* An empty file of the user's; -EEXIST. */
_must_check_ int bake_user_make_file(const struct bake_user *user, const char *path,
				     struct error *err);
