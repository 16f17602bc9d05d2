#include "factory/bake/bake_user.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "factory/bake/libvirt/protocol.h"

enum { ENTRY_MAX = 16384 };

int bake_user_find(struct bake_user *ret_user, struct error *err)
{
	char text[ENTRY_MAX], group_text[ENTRY_MAX];
	struct passwd user, *found_user = NULL;
	struct group group, *found_group = NULL;

	int r = getpwnam_r(BAKE_USER, &user, text, sizeof(text), &found_user);
	if (r == 0)
		r = getgrnam_r(BAKE_USER, &group, group_text, sizeof(group_text), &found_group);
	if (!found_user || !found_group)
		return error_set(err, r ? r : ENOENT,
				 "there is no user or group " BAKE_USER " to bake as (install "
				 "Debian's package libvirt-daemon-system, or run `make deps`)");
	*ret_user = (struct bake_user){ user.pw_uid, group.gr_gid };
	return 0;
}

int bake_user_let_through(const struct bake_user *user, const char *folder, struct error *err)
{
	struct stat st;

	if (stat(folder, &st) < 0)
		return error_set_errno(err, errno, "cannot read %s", folder);
	if (st.st_mode & S_IXOTH || (st.st_gid == user->gid && st.st_mode & S_IXGRP))
		return 0;
	if (st.st_gid != 0)
		return error_set(err, EACCES,
				 "the user " BAKE_USER " cannot pass through %s (chmod o+x)",
				 folder);
	if (chown(folder, (uid_t)-1, user->gid) < 0 ||
	    chmod(folder, (st.st_mode & 07707) | S_IXGRP) < 0)
		return error_set_errno(err, errno, "cannot open %s to " BAKE_USER, folder);
	return 0;
}

int bake_user_give(const struct bake_user *user, const char *path, struct error *err)
{
	if (lchown(path, user->uid, user->gid) < 0)
		return error_set_errno(err, errno, "cannot give %s to " BAKE_USER, path);
	return 0;
}

int bake_user_make_file(const struct bake_user *user, const char *path, struct error *err)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return error_set_errno(err, errno, "cannot create %s", path);
	return bake_user_give(user, path, err);
}
