/* The user the template's QEMU runs as while it is baked, and what root has to give it for that:
 * libvirt is told to leave the owners of files alone.
 *
 * It is the first of a range of ids like a machine's (factory/jail/uid_range.h), which the factory
 * takes for its bakes and keeps: nobody else on the host is that user, no clone, and no machine of
 * somebody else's whose QEMU runs as libvirt's user BAKE_USER. Below one run folder one bake runs
 * at a time. Its group is BAKE_USER's, or where it uses KVM the one that may open /dev/kvm; by that
 * it passes through folders, and nothing of a bake is open to the group. */
#pragma once

#include <sys/types.h>

#include "base/error.h"

struct bake_user {
	uid_t uid;
	gid_t gid;
};

/* Where machines have no ranges (first_uid 0) it is BAKE_USER itself. -ENOENT names the package
 * that makes that one. */
struct bake_domain_options;
_must_check_ int bake_user_find(const struct bake_domain_options *where, struct bake_user *ret_user,
				struct error *err);

/* The user may pass through the folder to what it knows the name of: by the folder's group where
 * that is still root's or of an earlier bake, since nobody else is to get in. -EACCES: somebody has
 * given the folder to another group, which is not taken away from it. */
_must_check_ int bake_user_let_through(const struct bake_user *user, const char *folder,
				       struct error *err);

/* The folder or file becomes the user's. */
_must_check_ int bake_user_give(const struct bake_user *user, const char *path, struct error *err);

/* An empty file of the user's; -EEXIST. */
_must_check_ int bake_user_make_file(const struct bake_user *user, const char *path,
				     struct error *err);
