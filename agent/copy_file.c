#include "agent/copy_file.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

enum { MODE_BITS = 07777, PARENT_MODE = 0750 };

/* Where a file is going to be. */
struct place {
	int dir;    /* owned */
	char *name; /* owned; in dir */
};

static void place_done(struct place *place)
{
	close_fd(place->dir);
	free(place->name);
}

/* ---------------------------------------------------------------- the way there */

static int open_below(int dir, const char *name, uint64_t flags, mode_t mode)
{
	struct open_how how = {
		.flags = flags | O_CLOEXEC,
		.mode = flags & O_CREAT ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};
	int fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

/* The mode apart from the creation, which the file mode mask would narrow. */
static int enter_folder(int dir, const char *name, mode_t mode)
{
	int fd = open_below(dir, name, O_RDONLY | O_DIRECTORY, 0);

	if (fd != -ENOENT)
		return fd;
	if (mkdirat(dir, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = open_below(dir, name, O_RDONLY | O_DIRECTORY, 0);
	if (fd >= 0 && fchmod(fd, mode) < 0) {
		int r = -errno;
		close_fd(fd);
		return r;
	}
	return fd;
}

static int find_place(const char *root, const Grpc__CopyFileRequest *request, struct place *place,
		      struct error *err)
{
	const char *below = str_after(request->path, root);
	mode_t mode = request->dir_mode & MODE_BITS ? request->dir_mode & MODE_BITS : PARENT_MODE;
	_cleanup_free_ char *path = NULL;
	char *rest = NULL, *name, *next;

	if (!below || *below != '/')
		return error_set(err, EPERM, "\"%.256s\" is not below %s", request->path, root);
	path = xstrdup(below);
	int r = dir_make(root, PARENT_MODE, err);
	if (r < 0)
		return r;
	place->dir = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (place->dir < 0)
		return error_set_errno(err, errno, "%s", root);
	name = strtok_r(path, "/", &rest);
	for (; name && (next = strtok_r(NULL, "/", &rest)); name = next) {
		int fd = str_equal(name, "..") ? -EPERM : enter_folder(place->dir, name, mode);
		if (fd < 0)
			return error_set_errno(err, fd, "folder \"%.256s\"", name);
		close_fd(place->dir);
		place->dir = fd;
	}
	if (!name || str_equal(name, ".") || str_equal(name, ".."))
		return error_set(err, EPERM, "\"%.256s\" names no file", request->path);
	place->name = xstrdup(name);
	return 0;
}

/* ---------------------------------------------------------------- kinds of files */

/* An owner of -1 stays. The mode last: a new owner takes the set-user-id bit away. */
static int set_owner_and_mode(int fd, const Grpc__CopyFileRequest *request, struct error *err)
{
	if (fchown(fd, (uid_t)request->uid, (gid_t)request->gid) < 0 ||
	    fchmod(fd, request->file_mode & MODE_BITS) < 0)
		return error_set_errno(err, errno, "cannot set owner and mode");
	return 0;
}

static int copy_folder(const struct place *place, const Grpc__CopyFileRequest *request,
		       struct error *err)
{
	_cleanup_close_ int fd = enter_folder(place->dir, place->name, 0700);

	return fd < 0 ? error_set_errno(err, fd, "cannot make the folder")
		      : set_owner_and_mode(fd, request, err);
}

/* Moves what was made to its place. Nothing that is no folder keeps it from there. */
static int move_in(const struct place *place, const char *part, struct error *err)
{
	if (renameat(place->dir, part, place->dir, place->name) < 0)
		return error_set_errno(err, errno, "cannot put it in place");
	return 0;
}

static int copy_link(const struct place *place, const char *part,
		     const Grpc__CopyFileRequest *request, struct error *err)
{
	_cleanup_free_ char *target = xstrndup((const char *)request->data.data, request->data.len);

	if (request->data.len == 0 || request->data.len >= PATH_MAX ||
	    strlen(target) != request->data.len)
		return error_set(err, EINVAL, "the data is no target of a symlink");
	(void)unlinkat(place->dir, part, 0); /* of a copy that was given up */
	if (symlinkat(target, place->dir, part) < 0 ||
	    fchownat(place->dir, part, (uid_t)request->uid, (gid_t)request->gid,
		     AT_SYMLINK_NOFOLLOW) < 0)
		return error_set_errno(err, errno, "cannot make the symlink");
	return move_in(place, part, err);
}

static int check_piece(int fd, const Grpc__CopyFileRequest *request, struct error *err)
{
	struct stat st;

	if (request->file_size < 0 || request->offset < 0 || request->offset > request->file_size ||
	    (uint64_t)(request->file_size - request->offset) < request->data.len)
		return error_set(err, EINVAL,
				 "%zu bytes at offset %" PRId64 " are not in a file of %" PRId64,
				 request->data.len, request->offset, request->file_size);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "its unfinished copy is no file");
	if (request->offset > st.st_size)
		return error_set(err, EINVAL,
				 "the piece is of offset %" PRId64 ", and %jd bytes have come",
				 request->offset, (intmax_t)st.st_size);
	return 0;
}

static int copy_piece(const struct place *place, const char *part,
		      const Grpc__CopyFileRequest *request, struct error *err)
{
	bool first = request->offset == 0;

	if (first)
		(void)unlinkat(place->dir, part, 0);
	_cleanup_close_ int fd = open_below(place->dir, part,
					    first ? O_RDWR | O_CREAT | O_EXCL : O_RDWR, 0600);
	if (fd == -ENOENT)
		return error_set(err, EINVAL,
				 "its first piece, of offset 0, has not come, but one of %" PRId64,
				 request->offset);
	if (fd < 0)
		return error_set_errno(err, fd, "cannot open its unfinished copy");
	int r = check_piece(fd, request, err);
	if (r < 0)
		return r;
	if (ftruncate(fd, request->offset) < 0 || lseek(fd, request->offset, SEEK_SET) < 0)
		return error_set_errno(err, errno, "cannot write at %" PRId64, request->offset);
	r = write_full(fd, request->data.data, request->data.len);
	if (r < 0)
		return error_set_errno(err, r, "cannot write");
	if (request->offset + (int64_t)request->data.len < request->file_size)
		return 0;
	r = set_owner_and_mode(fd, request, err);
	return r < 0 ? r : move_in(place, part, err);
}

static int copy_to(const struct place *place, const Grpc__CopyFileRequest *request,
		   struct error *err)
{
	_cleanup_free_ char *part = xasprintf(".%s.part", place->name);

	switch (request->file_mode & S_IFMT) {
	case S_IFDIR:
		return copy_folder(place, request, err);
	case S_IFLNK:
		return copy_link(place, part, request, err);
	case 0:
	case S_IFREG:
		return copy_piece(place, part, request, err);
	default:
		return error_set(err, EINVAL, "mode %o is of no file, folder or symlink",
				 request->file_mode);
	}
}

int copy_file(const char *root, const Grpc__CopyFileRequest *request, struct error *err)
{
	_cleanup_(place_done) struct place place = { .dir = -EBADF };
	int r;

	if (request->uid < -1 || request->gid < -1)
		return error_set(err, EINVAL, "there is no owner %d:%d", request->uid,
				 request->gid);
	r = find_place(root, request, &place, err);
	if (r == 0)
		r = copy_to(&place, request, err);
	return r < 0 ? error_wrap(err, "cannot copy to \"%.256s\"", request->path) : 0;
}
