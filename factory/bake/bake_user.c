#include "factory/bake/bake_user.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "factory/bake/bake_domain.h"
#include "factory/bake/libvirt/protocol.h"
#include "factory/jail/uid_range.h"

#define RANGE_OWNER "bake" /* no machine is called that */

enum { ENTRY_MAX = 16384 };

static int find_libvirts(struct bake_user *ret_user, struct error *err)
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

static int take_range(const char *run_dir, uint32_t first_uid, uid_t *ret_uid, struct error *err)
{
	int r = -EEXIST;

	for (unsigned n = 0; r == -EEXIST && n < UID_RANGES; n++) {
		uint32_t uid = uid_range_nth(first_uid, RANGE_OWNER, n);
		error_done(err);
		r = uid_range_take(run_dir, uid, RANGE_OWNER, err);
		if (r == 0 || uid_range_is(run_dir, uid, RANGE_OWNER)) {
			*ret_uid = uid;
			error_done(err);
			return 0;
		}
	}
	return r;
}

/* By its other groups BAKE_USER may open it; a user without a name has no other ones. */
static gid_t group_of_kvm(gid_t otherwise)
{
	struct stat st;

	if (stat("/dev/kvm", &st) < 0 || (st.st_mode & 06) == 06 || (st.st_mode & 060) != 060)
		return otherwise;
	return st.st_gid;
}

int bake_user_find(const struct bake_domain_options *where, struct bake_user *ret_user,
		   struct error *err)
{
	struct bake_user user = {};

	int r = find_libvirts(&user, err);
	if (r == 0 && where->first_uid > 0)
		r = take_range(where->run_dir, where->first_uid, &user.uid, err);
	if (r == 0 && where->first_uid > 0 && where->kvm)
		user.gid = group_of_kvm(user.gid);
	if (r == 0)
		*ret_user = user;
	return r;
}

static bool is_group_of_kvm(gid_t gid)
{
	char text[ENTRY_MAX];
	struct group group, *found = NULL;
	struct stat st;

	if (stat("/dev/kvm", &st) == 0 && st.st_gid == gid)
		return true;
	return getgrnam_r("kvm", &group, text, sizeof(text), &found) == 0 && found &&
	       found->gr_gid == gid;
}

/* root's, or one that an earlier bake gave a folder to, by this accelerator or the other. */
static bool is_group_of_bakes(gid_t gid)
{
	struct bake_user libvirts = {};

	return gid == 0 || (find_libvirts(&libvirts, NULL) == 0 && gid == libvirts.gid) ||
	       is_group_of_kvm(gid);
}

int bake_user_let_through(const struct bake_user *user, const char *folder, struct error *err)
{
	struct stat st;

	if (stat(folder, &st) < 0)
		return error_set_errno(err, errno, "cannot read %s", folder);
	if (st.st_mode & S_IXOTH || (st.st_gid == user->gid && st.st_mode & S_IXGRP))
		return 0;
	if (!is_group_of_bakes(st.st_gid))
		return error_set(err, EACCES,
				 "the bakes' user (group %u) cannot pass through %s (chmod o+x)",
				 user->gid, folder);
	if (chown(folder, (uid_t)-1, user->gid) < 0 ||
	    chmod(folder, (st.st_mode & 07747) | S_IXGRP) < 0)
		return error_set_errno(err, errno, "cannot open %s to the bakes' user", folder);
	return 0;
}

int bake_user_give(const struct bake_user *user, const char *path, struct error *err)
{
	if (lchown(path, user->uid, user->gid) < 0)
		return error_set_errno(err, errno, "cannot give %s to the bakes' user", path);
	return 0;
}

int bake_user_make_file(const struct bake_user *user, const char *path, struct error *err)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return error_set_errno(err, errno, "cannot create %s", path);
	return bake_user_give(user, path, err);
}
