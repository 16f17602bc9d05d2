#include "factory/jail/uid_range.h"

#include <dirent.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/id.h"
#include "base/memory.h"
#include "base/strings.h"

DEFINE_CLEANUP(DIR *, closedir)

static char *link_path(const char *run_dir, uint32_t uid)
{
	return xasprintf("%s/uids/%u", run_dir, uid);
}

uint32_t uid_range_nth(uint32_t first, const char *id, unsigned n)
{
	uint32_t start = 0;

	for (; *id; id++)
		start = start * 31 + (unsigned char)*id;
	return first + (start + n) % UID_RANGES * UID_RANGE_SIZE;
}

/* With a range that began elsewhere, as "uid_first" was when it was taken. */
static bool overlaps(const char *run_dir, uint32_t uid)
{
	_cleanup_free_ char *path = path_join(run_dir, "uids");
	_cleanup_(closedir_cleanup) DIR *dir = opendir(path);
	const struct dirent *entry;
	uint64_t first;

	while (dir && (entry = readdir(dir)))
		if (str_to_u64(entry->d_name, 1, UINT32_MAX, &first) == 0 && first != uid &&
		    (first < uid ? uid - first : first - uid) < UID_RANGE_SIZE)
			return true;
	return false;
}

int uid_range_take(const char *run_dir, uint32_t uid, const char *id, struct error *err)
{
	_cleanup_free_ char *path = link_path(run_dir, uid);
	int r = symlink(id, path) < 0 ? -errno : 0;

	if (r == -ENOENT) {
		_cleanup_free_ char *dir = path_join(run_dir, "uids");
		r = dir_make(dir, 0700, err);
		if (r < 0)
			return r;
		r = symlink(id, path) < 0 ? -errno : 0;
	}
	if (r == 0 && overlaps(run_dir, uid)) {
		unlink(path);
		r = -EEXIST;
	}
	return r < 0 ? error_set_errno(err, r, "cannot take the user ids %u", uid) : 0;
}

/* "": nobody's. */
static int read_owner(const char *path, char ret_owner[static ID_HEX_SIZE + 1])
{
	ssize_t len = readlink(path, ret_owner, ID_HEX_SIZE);

	ret_owner[len < 0 ? 0 : len] = '\0';
	return len < 0 && errno != ENOENT ? -errno : 0;
}

/* One descriptor for both questions: the link could be another one by the second. */
bool uid_range_is(const char *run_dir, uint32_t uid, const char *id)
{
	_cleanup_free_ char *path = link_path(run_dir, uid);
	_cleanup_close_ int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	char owner[ID_HEX_SIZE + 1];
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_uid != geteuid())
		return false;
	ssize_t len = readlinkat(fd, "", owner, ID_HEX_SIZE);
	owner[len < 0 ? 0 : len] = '\0';
	return str_equal(owner, id);
}

static bool has_id(int dir, const char *name, uint32_t uid, uint32_t *ret_first)
{
	struct stat st;
	uint64_t first;

	if (str_to_u64(name, 1, uid, &first) < 0 || uid - first >= UID_RANGE_SIZE ||
	    fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_uid != geteuid())
		return false;
	*ret_first = (uint32_t)first;
	return true;
}

uint32_t uid_range_find(const char *run_dir, uint32_t uid)
{
	_cleanup_free_ char *path = path_join(run_dir, "uids");
	_cleanup_(closedir_cleanup) DIR *dir = opendir(path);
	const struct dirent *entry;
	uint32_t first = 0;

	while (dir && first == 0 && (entry = readdir(dir)))
		(void)has_id(dirfd(dir), entry->d_name, uid, &first);
	return first;
}

int uid_range_release(const char *run_dir, uint32_t uid, const char *id, struct error *err)
{
	_cleanup_free_ char *path = link_path(run_dir, uid);
	char owner[ID_HEX_SIZE + 1];

	int r = read_owner(path, owner);
	if (r == 0 && !str_equal(owner, id))
		return 0;
	if (r < 0 || (unlink(path) < 0 && errno != ENOENT))
		return error_set_errno(err, r < 0 ? r : errno, "cannot give back the user ids %u",
				       uid);
	return 0;
}
