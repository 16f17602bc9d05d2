#include "shim/tree_copy.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"
#include "shim/large_ids.h"

enum { BLOCK = 64 * 1024 };

static int copy_one(struct tree_copy *copy, int from, const char *name, int to, const char *to_name,
		    unsigned depth, struct error *err);

/* ---------------------------------------------------------------- the bound, the digest */

static int count_entry(struct tree_copy *copy, const char *name, struct error *err)
{
	if (copy->entries == copy->entries_max)
		return error_set(err, EFBIG, "%s: there are more than %zu files and folders", name,
				 copy->entries_max);
	copy->entries++;
	return 0;
}

static int count_bytes(struct tree_copy *copy, const char *name, size_t bytes, struct error *err)
{
	if (bytes > copy->bytes_max - copy->bytes)
		return error_set(err, EFBIG, "%s: together the files are larger than %zu bytes",
				 name, copy->bytes_max);
	copy->bytes += bytes;
	return 0;
}

static void note_entry(const struct tree_copy *copy, const char *name, const struct stat *st)
{
	const uint64_t what[] = { st->st_mode, st->st_uid, st->st_gid, (uint64_t)st->st_size };

	if (!copy->digest)
		return;
	digest_add_string(copy->digest, name);
	digest_add(copy->digest, what, sizeof(what));
}

int tree_copy_owner(const struct idmap *idmap, const struct stat *st, int to, const char *name,
		    struct error *err)
{
	const struct timespec times[] = { st->st_atim, st->st_mtim };

	if (fchownat(to, name, large_ids_on_host(idmap, st->st_uid),
		     large_ids_on_host(idmap, st->st_gid), AT_SYMLINK_NOFOLLOW) < 0 ||
	    (!S_ISLNK(st->st_mode) && fchmodat(to, name, st->st_mode & 07777, 0) < 0) ||
	    utimensat(to, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return error_set_errno(err, errno, "%s: the copy's owner", name);
	return 0;
}

/* ---------------------------------------------------------------- one of each kind */

/* What was looked at is what was opened. */
static int open_same(int from, const char *name, int flags, const struct stat *st, int *ret_fd,
		     struct error *err)
{
	_cleanup_close_ int fd = openat(
		from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | flags);
	struct stat now;

	if (fd < 0 || fstat(fd, &now) < 0)
		return error_set_errno(err, errno, "%s", name);
	if (now.st_ino != st->st_ino || (now.st_mode & S_IFMT) != (st->st_mode & S_IFMT))
		return error_set(err, EAGAIN, "%s: it was replaced while it was copied", name);
	*ret_fd = steal_fd(&fd);
	return 0;
}

static int copy_bytes(struct tree_copy *copy, int from, int to, const char *name, struct error *err)
{
	_cleanup_free_ char *block = xrealloc_array(NULL, BLOCK, 1);
	ssize_t len;
	int r = 0;

	while (r == 0 && (len = read_full(from, block, BLOCK)) != 0) {
		if (len < 0)
			return error_set_errno(err, (int)len, "%s", name);
		r = count_bytes(copy, name, (size_t)len, err);
		if (r < 0)
			return r;
		if (copy->digest)
			digest_add(copy->digest, block, (size_t)len);
		r = write_full(to, block, (size_t)len);
	}
	return r < 0 ? error_set_errno(err, r, "%s: its copy", name) : 0;
}

static int copy_file(struct tree_copy *copy, int from, const char *name, const struct stat *st,
		     int to, const char *to_name, struct error *err)
{
	_cleanup_close_ int in = -EBADF, out = -EBADF;
	int r = open_same(from, name, 0, st, &in, err);

	if (r < 0)
		return r;
	out = openat(to, to_name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out < 0)
		return error_set_errno(err, errno, "%s: its copy", name);
	return copy_bytes(copy, in, out, name, err);
}

static int copy_link(struct tree_copy *copy, int from, const char *name, int to,
		     const char *to_name, struct error *err)
{
	char target[PATH_MAX];
	ssize_t len = readlinkat(from, name, target, sizeof(target) - 1);

	if (len < 0)
		return error_set_errno(err, errno, "%s", name);
	target[len] = '\0';
	if (copy->digest)
		digest_add_string(copy->digest, target);
	if (symlinkat(target, to, to_name) < 0)
		return error_set_errno(err, errno, "%s: its copy", name);
	return 0;
}

/* What is in it. */
static int copy_entries(struct tree_copy *copy, int from, int to, unsigned depth, struct error *err)
{
	int fd = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir) {
		r = error_set_errno(err, errno, "cannot list a folder");
		close_fd(fd);
		return r;
	}
	while (r == 0 && (errno = 0, entry = readdir(dir)))
		if (!str_equal(entry->d_name, ".") && !str_equal(entry->d_name, ".."))
			r = copy_one(copy, from, entry->d_name, to, entry->d_name, depth, err);
	if (r == 0 && errno != 0)
		r = error_set_errno(err, errno, "cannot list a folder");
	closedir(dir);
	if (r == 0 && copy->digest)
		digest_add_string(copy->digest, "/"); /* the folder's end */
	return r;
}

static int copy_folder(struct tree_copy *copy, int from, const char *name, const struct stat *st,
		       int to, const char *to_name, unsigned depth, struct error *err)
{
	_cleanup_close_ int in = -EBADF, out = -EBADF;
	int r = open_same(from, name, O_DIRECTORY, st, &in, err);

	if (r < 0)
		return r;
	if (depth == TREE_COPY_DEPTH)
		return error_set(err, EFBIG, "%s: folders are in more than %d others", name,
				 TREE_COPY_DEPTH);
	if (mkdirat(to, to_name, 0700) < 0)
		return error_set_errno(err, errno, "%s: its copy", name);
	out = openat(to, to_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (out < 0)
		return error_set_errno(err, errno, "%s: its copy", name);
	return copy_entries(copy, in, out, depth + 1, err);
}

static int copy_one(struct tree_copy *copy, int from, const char *name, int to, const char *to_name,
		    unsigned depth, struct error *err)
{
	struct stat st;
	int r = count_entry(copy, name, err);

	if (r < 0)
		return r;
	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return error_set_errno(err, errno, "%s", name);
	note_entry(copy, name, &st);
	if (S_ISDIR(st.st_mode))
		r = copy_folder(copy, from, name, &st, to, to_name, depth, err);
	else if (S_ISREG(st.st_mode))
		r = copy_file(copy, from, name, &st, to, to_name, err);
	else if (S_ISLNK(st.st_mode))
		r = copy_link(copy, from, name, to, to_name, err);
	else
		r = error_set(err, EOPNOTSUPP, "%s: it is neither a file nor a folder nor a link",
			      name);
	return r < 0 ? r : tree_copy_owner(copy->idmap, &st, to, to_name, err);
}

int tree_copy_entry(struct tree_copy *copy, int from, const char *name, int to, const char *to_name,
		    struct error *err)
{
	return copy_one(copy, from, name, to, to_name, 0, err);
}

int tree_copy_content(struct tree_copy *copy, int from, int to, struct error *err)
{
	struct stat st;
	int r = copy_entries(copy, from, to, 0, err);

	if (r < 0)
		return r;
	if (fstatat(from, "", &st, AT_EMPTY_PATH) < 0)
		return error_set_errno(err, errno, "cannot look at a folder");
	return tree_copy_owner(copy->idmap, &st, to, ".", err);
}
