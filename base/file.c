#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"

#define FILE_READ_STEP 4096

/* ---------------------------------------------------------------- reading and writing */

ssize_t read_full(int fd, void *data, size_t len)
{
	char *at = data;
	size_t got = 0;

	while (got < len) {
		ssize_t n = read(fd, at + got, len - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

int write_full(int fd, const void *data, size_t len)
{
	const char *at = data;

	while (len > 0) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Reads to the end, whatever stat says: procfs and sysfs files claim to be empty. */
static int read_to_end(int fd, size_t max, char **ret_text, size_t *ret_len)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0, size = 0;

	for (;;) {
		if (size - len <= 1) {
			size = size ? size * 2 : FILE_READ_STEP;
			text = xrealloc_array(text, size, 1);
		}

		ssize_t n = read_full(fd, text + len, size - len - 1);

		if (n < 0)
			return (int)n;
		len += (size_t)n;
		if (len > max)
			return -EFBIG;
		if (n == 0)
			break;
	}
	text[len] = '\0';
	*ret_text = steal_ptr(text);
	if (ret_len)
		*ret_len = len;
	return 0;
}

int file_read(const char *path, size_t max, char **ret_text, size_t *ret_len, struct error *err)
{
	/* Not blocking: a FIFO in the file's place gives nothing rather than waiting. */
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0)
		return error_set_errno(err, errno, "cannot open %s", path);

	int r = read_to_end(fd, max, ret_text, ret_len);

	if (r == -EFBIG)
		return error_set(err, EFBIG, "%s is larger than %zu bytes", path, max);
	if (r < 0)
		return error_set_errno(err, r, "cannot read %s", path);
	return 0;
}

static int sync_folder(const char *dir)
{
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		return -errno;
	return 0;
}

/* Fills the temporary file behind fd and puts it in the place of path. */
static int write_and_rename(int fd, const char *temporary, const char *path, const void *data,
			    size_t len, bool durable)
{
	int r = write_full(fd, data, len);

	if (r < 0)
		return r;
	if ((durable && fsync(fd) < 0) || rename(temporary, path) < 0)
		return -errno;
	return 0;
}

static int replace_file(const char *path, const void *data, size_t len, mode_t mode, bool durable,
			struct error *err)
{
	_cleanup_free_ char *dir_copy = xstrdup(path), *name_copy = xstrdup(path);
	const char *dir = dirname(dir_copy);
	/* Hidden, so that whoever lists the folder for *.json does not see half a file. */
	_cleanup_free_ char *temporary = xasprintf("%s/.%s.XXXXXX", dir, basename(name_copy));
	_cleanup_close_ int fd = mkostemp(temporary, O_CLOEXEC);

	if (fd < 0)
		return error_set_errno(err, errno, "cannot make a temporary file for %s", path);

	int r = fchmod(fd, mode) < 0 ? -errno
				     : write_and_rename(fd, temporary, path, data, len, durable);

	if (r < 0) {
		unlink(temporary);
		return error_set_errno(err, r, "cannot write %s", path);
	}
	r = durable ? sync_folder(dir) : 0;
	if (r < 0)
		return error_set_errno(err, r, "cannot sync the folder of %s", path);
	return 0;
}

int file_write_atomic(const char *path, const void *data, size_t len, mode_t mode,
		      struct error *err)
{
	return replace_file(path, data, len, mode, true, err);
}

int file_write_volatile(const char *path, const void *data, size_t len, mode_t mode,
			struct error *err)
{
	return replace_file(path, data, len, mode, false, err);
}

int file_write_value(const char *path, const char *text, struct error *err)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
	size_t len = strlen(text);

	if (fd < 0)
		return error_set_errno(err, errno, "cannot open %s", path);

	ssize_t n = write(fd, text, len);

	if (n < 0)
		return error_set_errno(err, errno, "cannot write \"%s\" to %s", text, path);
	if ((size_t)n != len)
		return error_set(err, EIO, "%s took %zd of %zu bytes", path, n, len);
	return 0;
}

/* ---------------------------------------------------------------- folders and paths */

/* Not by access(): of a device that is not our control group's to use (systemd's DevicePolicy=) it
 * says that it is not there. */
bool path_exists(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0;
}

char *path_join(const char *dir, const char *name)
{
	size_t len = strlen(dir);

	if (name[0] == '/')
		return xstrdup(name);
	return xasprintf("%s%s%s", dir, len > 0 && dir[len - 1] == '/' ? "" : "/", name);
}

char *path_absolute(const char *path)
{
	_cleanup_free_ char *cwd = path && path[0] != '/' ? getcwd(NULL, 0) : NULL;

	return cwd ? path_join(cwd, path) : xstrdup(path);
}

static int make_one(const char *path, mode_t mode)
{
	struct stat st;

	if (mkdir(path, mode) == 0)
		return 0;

	int r = -errno;

	if (stat(path, &st) < 0)
		return r;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int dir_make(const char *path, mode_t mode, struct error *err)
{
	_cleanup_free_ char *prefix = xstrdup(path);
	int r = *path ? 0 : -ENOENT;

	for (char *at = prefix; r == 0 && *at; at++) {
		if (*at != '/' || at == prefix)
			continue;
		*at = '\0';
		r = make_one(prefix, mode);
		*at = '/';
	}
	if (r == 0)
		r = make_one(path, mode);
	if (r < 0)
		return error_set_errno(err, r, "cannot make the folder %s", path);
	return 0;
}

bool dir_is_empty(const char *path)
{
	DIR *dir = opendir(path);
	size_t count = 0;

	if (!dir)
		return false;
	while (readdir(dir))
		count++;
	closedir(dir);
	return count <= 2; /* "." and ".." */
}

/* ---------------------------------------------------------------- removing trees */

/* Where a file is: enough to see that it is the same one, and on the same mount. */
struct place {
	uint64_t mount, inode;
	uint32_t dev_major, dev_minor;
	bool is_dir;
};

/* A folder above the current one. Trees may be deeper than descriptors or the stack allow,
 * for a guest makes them: only the current folder is open, the way back is checked. */
struct level {
	struct level *up;   /* owned */
	char *name;         /* owned; of the folder below, in this one */
	struct place place; /* of this folder */
};

/* A tree being removed. */
struct removal {
	int fd;             /* owned: the folder being emptied */
	struct place place; /* of it */
	struct level *up;   /* owned */
};

static int place_of(int dir, const char *name, struct place *ret_place)
{
	struct statx st;

	if (statx(dir, name, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT,
		  STATX_TYPE | STATX_INO | STATX_MNT_ID, &st) < 0)
		return -errno;
	*ret_place = (struct place){
		.mount = st.stx_mask & STATX_MNT_ID ? st.stx_mnt_id : 0,
		.inode = st.stx_ino,
		.dev_major = st.stx_dev_major,
		.dev_minor = st.stx_dev_minor,
		.is_dir = S_ISDIR(st.stx_mode),
	};
	return 0;
}

static bool same_mount(const struct place *a, const struct place *b)
{
	return a->mount == b->mount && a->dev_major == b->dev_major && a->dev_minor == b->dev_minor;
}

static int remove_entry(int dir, const char *name, int flags)
{
	return unlinkat(dir, name, flags) < 0 && errno != ENOENT ? -errno : 0;
}

/* Makes the folder `name` of the current one the current one. */
static int removal_descend(struct removal *removal, const char *name)
{
	struct place place = {};
	_cleanup_close_ int fd = openat(removal->fd, name,
					O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -errno;

	/* Asked of the open folder, so that nobody can change it between check and use. */
	int r = place_of(fd, "", &place);

	if (r < 0)
		return r;
	if (!same_mount(&place, &removal->place))
		return -EBUSY;

	struct level *level = xnew(struct level);

	level->up = removal->up;
	level->name = xstrdup(name);
	level->place = removal->place;
	removal->up = level;
	removal->place = place;
	close_fd(removal->fd);
	removal->fd = steal_fd(&fd);
	return 0;
}

/* Goes back to the folder above and removes the emptied one from it. */
static int removal_ascend(struct removal *removal)
{
	struct level *level = removal->up;
	struct place place = {};
	_cleanup_close_ int fd = openat(removal->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;

	int r = place_of(fd, "", &place);

	if (r < 0)
		return r;
	if (!same_mount(&place, &level->place) || place.inode != level->place.inode)
		return -ESTALE; /* somebody moved the folder meanwhile */

	r = remove_entry(fd, level->name, AT_REMOVEDIR);
	removal->up = level->up;
	removal->place = place;
	close_fd(removal->fd);
	removal->fd = steal_fd(&fd);
	free(level->name);
	free(level);
	return r;
}

/* Removes one entry of the current folder; 1 where that was a step down instead. */
static int removal_take(struct removal *removal, const char *name)
{
	struct place place = {};
	int r = place_of(removal->fd, name, &place);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	if (!same_mount(&place, &removal->place))
		return -EBUSY;
	if (!place.is_dir)
		return remove_entry(removal->fd, name, 0);
	if (unlinkat(removal->fd, name, AT_REMOVEDIR) == 0)
		return 0;
	r = removal_descend(removal, name);
	if (r == -ENOENT)
		return 0;
	return r < 0 ? r : 1;
}

/* Empties the current folder until a folder in it has to be emptied first; 1 then. */
static int removal_scan(struct removal *removal)
{
	int copy = openat(removal->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	int r = 0;

	if (!dir) {
		r = -errno;
		close_fd(copy);
		return r;
	}
	while (r == 0) {
		errno = 0;
		struct dirent *entry = readdir(dir);

		if (!entry) {
			r = -errno;
			break;
		}
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = removal_take(removal, entry->d_name);
	}
	closedir(dir);
	return r;
}

static void removal_done(struct removal *removal)
{
	struct level *level;

	while ((level = removal->up)) {
		removal->up = level->up;
		free(level->name);
		free(level);
	}
	removal->fd = close_fd(removal->fd);
}

/* Removes `name` in the folder dir, which is taken. */
static int remove_in(int dir, const char *name)
{
	_cleanup_(removal_done) struct removal removal = { .fd = dir };
	int r = place_of(dir, "", &removal.place);

	if (r == 0)
		r = removal_take(&removal, name);
	while (r >= 0 && removal.up) {
		r = removal_scan(&removal);
		if (r == 0)
			r = removal_ascend(&removal);
	}
	return r < 0 ? r : 0;
}

int path_remove(const char *path, struct error *err)
{
	_cleanup_free_ char *dir_copy = xstrdup(path), *name_copy = xstrdup(path);
	const char *dir = dirname(dir_copy), *name = basename(name_copy);

	if (!*path || strcmp(name, "/") == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return error_set(err, EINVAL, "\"%s\" cannot be removed by that name", path);

	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 ? -errno : remove_in(fd, name);

	if (r < 0 && !(r == -ENOENT && fd < 0))
		return error_set_errno(err, r, "cannot remove %s", path);
	return 0;
}
