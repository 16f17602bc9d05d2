#include "agent/rootpath.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/memory.h"

enum { ATTEMPTS = 16, LINKS_MAX = 16 };

static int open_below(int root, const char *path, int flags, uint64_t resolve, int *ret_fd)
{
	struct open_how how = {
		.flags = (uint64_t)flags | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | resolve,
	};
	long fd = -1;

	/* -EAGAIN: somebody renamed folders while ".." was looked up. */
	for (int i = 0; i < ATTEMPTS; i++) {
		fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	if (fd < 0)
		return -errno;
	*ret_fd = (int)fd;
	return 0;
}

int rootpath_open_file(int root, const char *path, int flags, int *ret_fd)
{
	return open_below(root, path, flags, RESOLVE_NO_MAGICLINKS, ret_fd);
}

int rootpath_open(int root, const char *path, int *ret_fd)
{
	return rootpath_open_file(root, path, O_PATH, ret_fd);
}

int rootpath_open_no_links(int root, const char *path, int *ret_fd)
{
	return open_below(root, path, O_PATH, RESOLVE_NO_SYMLINKS, ret_fd);
}

static int make_entry(int dir, const char *name, bool is_dir)
{
	if (is_dir)
		return mkdirat(dir, name, 0755) < 0 ? -errno : 0;

	int fd = openat(dir, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0644);

	if (fd < 0)
		return -errno;
	close_fd(fd);
	return 0;
}

static int make_path(int root, char *path, bool is_dir, unsigned links, int *ret_fd);

/* Makes what a link points to that leads nowhere yet, in place of it: /etc/resolv.conf is
 * such a link in many images. */
static int make_link_target(int root, int parent, const char *dir, const char *name, bool is_dir,
			    unsigned links, int *ret_fd)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(parent, name, target, sizeof(target));

	if (n < 0 || n == sizeof(target))
		return n < 0 ? -errno : -ENAMETOOLONG;
	if (links >= LINKS_MAX)
		return -ELOOP;
	target[n] = '\0';
	_cleanup_free_ char *path = *target == '/' ? xstrdup(target)
						   : xasprintf("%s/%s", dir, target);
	if (strlen(path) >= PATH_MAX)
		return -ENAMETOOLONG;
	return make_path(root, path, is_dir, links + 1, ret_fd);
}

/* Makes path, whose parent exists. */
static int make_last(int root, char *path, bool is_dir, unsigned links, int *ret_fd)
{
	_cleanup_close_ int parent = -EBADF;
	char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	const char *dir = slash == path ? "/" : slash ? path : ".";

	if (slash)
		*slash = '\0';
	int r = rootpath_open(root, slash == path ? "/" : dir, &parent);
	if (r == 0)
		r = make_entry(parent, name, is_dir);
	if (r == -EEXIST)
		r = make_link_target(root, parent, dir, name, is_dir, links, ret_fd);
	else if (r == 0)
		r = rootpath_open(parent, name, ret_fd);
	if (slash)
		*slash = '/';
	return r;
}

/* Where the component that starts at p ends; behind it only slashes is the end, too. */
static char *component_end(char *p)
{
	return p + strcspn(p, "/");
}

static int make_path(int root, char *path, bool is_dir, unsigned links, int *ret_fd)
{
	_cleanup_close_ int fd = -EBADF;
	char *p = path + strspn(path, "/");

	if (!*p)
		return rootpath_open(root, "/", ret_fd);
	for (;;) {
		char *end = component_end(p);
		char *next = end + strspn(end, "/");
		char kept = *end;
		bool last = !*next;

		*end = '\0';
		fd = close_fd(fd);
		int r = rootpath_open(root, path, &fd);
		if (r == -ENOENT)
			r = make_last(root, path, last ? is_dir : true, links, &fd);
		*end = kept;
		if (r < 0)
			return r;
		if (last)
			break;
		p = next;
	}
	*ret_fd = steal_fd(&fd);
	return 0;
}

int rootpath_make(int root, const char *path, bool is_dir, int *ret_fd, struct error *err)
{
	int r = -ENAMETOOLONG;

	if (strlen(path) < PATH_MAX) {
		r = rootpath_open(root, path, ret_fd);
		if (r == -ENOENT) {
			_cleanup_free_ char *copy = xstrdup(path);
			r = make_path(root, copy, is_dir, 0, ret_fd);
		}
	}
	if (r < 0)
		return error_set_errno(err, r, "cannot make %s in the container", path);
	return 0;
}

int rootpath_parent(int root, const char *path, int *ret_dir, const char **ret_name,
		    struct error *err)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;

	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return error_set(err, EINVAL, "\"%s\" does not name a file", path);

	_cleanup_free_ char *parent = slash && slash != path
					      ? xstrndup(path, (size_t)(slash - path))
					      : xstrdup("/");
	int r = rootpath_make(root, parent, true, ret_dir, err);
	if (r < 0)
		return r;
	*ret_name = name;
	return 0;
}
