#include "agent/copy_up.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/strings.h"

enum { DEPTH_MAX = 64 };

static int copy_folder(int from, int to, unsigned depth, struct error *err);

static int copy_data(int from, int to)
{
	ssize_t n;

	do
		n = sendfile(to, from, NULL, INT_MAX);
	while (n > 0);
	return n < 0 ? -errno : 0;
}

static int copy_file(int from, int to, const char *name)
{
	_cleanup_close_ int in = openat(from, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	_cleanup_close_ int out = -EBADF;

	if (in < 0)
		return -errno;
	out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	return out < 0 ? -errno : copy_data(in, out);
}

static int copy_link(int from, int to, const char *name)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(from, name, target, sizeof(target));

	if (n < 0 || n == sizeof(target))
		return n < 0 ? -errno : -ENAMETOOLONG;
	target[n] = '\0';
	return symlinkat(target, to, name) < 0 ? -errno : 0;
}

static int copy_below(int from, int to, const char *name, unsigned depth, struct error *err)
{
	_cleanup_close_ int in = openat(from, name,
					O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	_cleanup_close_ int out = -EBADF;

	if (in < 0 || mkdirat(to, name, 0700) < 0)
		return -errno;
	out = openat(to, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return out < 0 ? -errno : copy_folder(in, out, depth + 1, err);
}

static int copy_content(int from, int to, const char *name, const struct stat *st, unsigned depth,
			struct error *err)
{
	switch (st->st_mode & S_IFMT) {
	case S_IFDIR:
		return copy_below(from, to, name, depth, err);
	case S_IFREG:
		return copy_file(from, to, name);
	case S_IFLNK:
		return copy_link(from, to, name);
	case S_IFSOCK:
		return 0; /* nobody listens on a copy */
	default:
		return mknodat(to, name, st->st_mode, st->st_rdev) < 0 ? -errno : 0;
	}
}

/* The mode last: a change of owner takes bits away. */
static int copy_attributes(int to, const char *name, const struct stat *st)
{
	const struct timespec times[] = { st->st_atim, st->st_mtim };

	if (S_ISSOCK(st->st_mode))
		return 0;
	if (fchownat(to, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISLNK(st->st_mode) && fchmodat(to, name, st->st_mode & 07777, 0) < 0)
		return -errno;
	return utimensat(to, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int copy_entry(int from, int to, const char *name, unsigned depth, struct error *err)
{
	struct stat st;
	int r = fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;

	if (r == 0)
		r = copy_content(from, to, name, &st, depth, err);
	if (r == 0)
		r = copy_attributes(to, name, &st);
	if (r < 0 && !err->number)
		error_set_errno(err, r, "cannot copy %s", name);
	return r;
}

static int copy_folder(int from, int to, unsigned depth, struct error *err)
{
	DIR *entries = NULL;
	const struct dirent *entry;
	int r = 0;
	int fd = depth < DEPTH_MAX ? openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (depth >= DEPTH_MAX)
		return -ELOOP;
	entries = fd < 0 ? NULL : fdopendir(fd);
	if (!entries) {
		r = -errno;
		close_fd(fd);
		return r;
	}
	while (r == 0 && (errno = 0, entry = readdir(entries)))
		if (!str_equal(entry->d_name, ".") && !str_equal(entry->d_name, ".."))
			r = copy_entry(from, to, entry->d_name, depth, err);
	if (r == 0)
		r = -errno;
	closedir(entries);
	return r;
}

int copy_up(int from, int to, struct error *err)
{
	_cleanup_(error_done) struct error why = {};
	_cleanup_close_ int folder = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = folder < 0 ? -errno : copy_folder(folder, to, 0, &why);

	if (r < 0 && !why.number)
		error_set_errno(&why, r, "cannot read the folder");
	if (r < 0)
		error_move(err, &why);
	return r < 0 ? error_wrap(err, "tmpcopyup") : 0;
}
