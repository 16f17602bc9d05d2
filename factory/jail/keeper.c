#include "factory/jail/keeper.h"

#include <pwd.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

#define SIGN "pools"

int keeper_find(const char *user, struct keeper *ret_keeper, struct error *err)
{
	const struct passwd *entry = NULL;
	uint64_t number;

	if (user && str_to_u64(user, 0, UINT32_MAX - 1, &number) == 0)
		entry = getpwuid((uid_t)number);
	else
		entry = getpwnam(user ? user : KEEPER_USER);
	if (!entry && user)
		return error_set(err, EINVAL, "user is \"%s\", which this host does not know",
				 user);
	*ret_keeper = entry ? (struct keeper){ entry->pw_uid, entry->pw_gid } : (struct keeper){};
	return 0;
}

struct keeper keeper_of(const char *run_dir)
{
	_cleanup_free_ char *path = path_join(run_dir, SIGN);
	struct stat st;

	if (geteuid() != 0 || lstat(path, &st) < 0 || !S_ISDIR(st.st_mode))
		return (struct keeper){};
	return (struct keeper){ st.st_uid, st.st_gid };
}

int keeper_give(const struct keeper *keeper, const char *path, struct error *err)
{
	if (geteuid() == 0 && lchown(path, keeper->uid, keeper->gid) < 0)
		return error_set_errno(err, errno, "cannot give %s to the factory's user", path);
	return 0;
}

int keeper_give_fd(const struct keeper *keeper, int fd, const char *path, struct error *err)
{
	if (geteuid() == 0 && fchown(fd, keeper->uid, keeper->gid) < 0)
		return error_set_errno(err, errno, "cannot give %s to the factory's user", path);
	return 0;
}

int keeper_let_through(const struct keeper *keeper, const char *folder, struct error *err)
{
	if (geteuid() != 0 || keeper->uid == 0)
		return 0;
	if (lchown(folder, 0, keeper->gid) < 0 || chmod(folder, 0710) < 0)
		return error_set_errno(err, errno, "cannot open %s to the factory's user", folder);
	return 0;
}
