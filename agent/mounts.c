#include "agent/mounts.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include "base/memory.h"
#include "base/strings.h"

#define WRITTEN_BY_CONTAINERS "/run/kiln/" /* volumes that only the guest has */

/* What the file system said, without the level letter and the newline; "" if nothing. */
static const char *complaint(int fs, char *text, size_t size)
{
	ssize_t n = read(fs, text, size - 1);

	if (n <= 2)
		return "";
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return text + 2;
}

static int refused(int fs, int number, const char *type, const char *option, struct error *err)
{
	char text[256];
	const char *said = complaint(fs, text, sizeof(text));

	if (*said)
		error_set_errno(err, number, "%s", said);
	else
		error_set_errno(err, number, "refused");
	if (option)
		error_wrap(err, "option \"%s\"", option);
	return error_wrap(err, "cannot mount %s", type);
}

static int set_option(int fs, const char *option)
{
	_cleanup_free_ char *copy = xstrdup(option);
	char *value = strchr(copy, '=');
	int r;

	if (value)
		*value++ = '\0';
	r = fsconfig(fs, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, copy, value, 0);
	return r < 0 ? -errno : 0;
}

static int finish_options(int fs, const char *type, const struct mount_options *options,
			  enum fsconfig_command command, struct error *err)
{
	for (size_t i = 0; i < options->ndata; i++) {
		int r = set_option(fs, options->data[i]);
		if (r < 0)
			return refused(fs, r, type, options->data[i], err);
	}
	if (fsconfig(fs, command, NULL, NULL, 0) < 0)
		return refused(fs, errno, type, NULL, err);
	return 0;
}

static int set_options(int fs, const char *type, const char *source,
		       const struct mount_options *options, struct error *err)
{
	if (!str_empty(source) && fsconfig(fs, FSCONFIG_SET_STRING, "source", source, 0) < 0)
		return refused(fs, errno, type, "source", err);
	if (options->fs_readonly && fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0)
		return refused(fs, errno, type, "ro", err);
	return finish_options(fs, type, options, FSCONFIG_CMD_CREATE, err);
}

static int setattr(int tree, uint64_t set, uint64_t clear, uint64_t propagation, bool recursive)
{
	struct mount_attr attr = { .attr_set = set, .attr_clr = clear, .propagation = propagation };

	if (!set && !clear && !propagation)
		return 0;
	if (mount_setattr(tree, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attr,
			  sizeof(attr)) < 0)
		return -errno;
	return 0;
}

static int new_tree(const char *type, const char *source, const struct mount_options *options,
		    int *ret_tree, struct error *err)
{
	_cleanup_close_ int fs = fsopen(type, FSOPEN_CLOEXEC);

	if (fs < 0 && errno == ENODEV)
		return error_set(err, ENODEV, "the guest's kernel knows no file system \"%s\"",
				 type);
	if (fs < 0)
		return error_set_errno(err, errno, "cannot mount %s", type);

	int r = set_options(fs, type, source, options, err);
	if (r < 0)
		return r;

	int tree = fsmount(fs, FSMOUNT_CLOEXEC, (unsigned)(options->attr_set | options->tree_set));
	if (tree < 0)
		return refused(fs, errno, type, NULL, err);
	*ret_tree = tree;
	return 0;
}

int mount_new(const char *type, const char *source, const struct mount_options *options,
	      int *ret_tree, struct error *err)
{
	_cleanup_close_ int tree = -EBADF;
	int r = new_tree(type, source, options, &tree, err);

	if (r < 0)
		return r;
	r = setattr(tree, 0, 0, options->propagation, options->propagation_tree);
	if (r < 0)
		return error_set_errno(err, r, "cannot set the propagation of %s", type);
	*ret_tree = steal_fd(&tree);
	return 0;
}

int mount_copy(int dir, const char *path, bool tree, int *ret_tree, struct error *err)
{
	unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;
	int fd = open_tree(dir, path, flags | (tree ? AT_RECURSIVE : 0));

	if (fd < 0)
		return error_set_errno(err, errno, "cannot bind %s", path);
	*ret_tree = fd;
	return 0;
}

/* What is below may be a container's to write to: a link there must not lead out. */
static int open_source(const char *source, int *ret_fd, struct error *err)
{
	/* A folder is opened as one: so that of a virtio-fs becomes the mount that it is on the
	 * host. */
	struct open_how how = { .flags = O_PATH | O_CLOEXEC | O_DIRECTORY,
				.resolve = str_after(source, WRITTEN_BY_CONTAINERS)
						   ? RESOLVE_NO_SYMLINKS
						   : 0 };

	*ret_fd = (int)syscall(SYS_openat2, AT_FDCWD, source, &how, sizeof(how));
	if (*ret_fd < 0 && errno == ENOTDIR) {
		how.flags &= ~(uint64_t)O_DIRECTORY;
		*ret_fd = (int)syscall(SYS_openat2, AT_FDCWD, source, &how, sizeof(how));
	}
	return *ret_fd < 0 ? error_set_errno(err, errno, "cannot bind %s", source) : 0;
}

int mount_set_options(int tree, const struct mount_options *options)
{
	int r = setattr(tree, options->tree_set, options->tree_clear, 0, true);

	if (r == 0)
		r = setattr(tree, options->attr_set, options->attr_clear, 0, false);
	return r == 0 ? setattr(tree, 0, 0, options->propagation, options->propagation_tree) : r;
}

int mount_bind(const char *source, const struct mount_options *options, int *ret_tree,
	       struct error *err)
{
	_cleanup_close_ int tree = -EBADF, fd = -EBADF;
	int r = open_source(source, &fd, err);

	if (r == 0)
		r = mount_copy(fd, "", options->bind_tree, &tree, err);
	if (r < 0)
		return r;
	r = mount_set_options(tree, options);
	if (r < 0)
		return error_set_errno(err, r, "cannot set the mount attributes of %s", source);
	*ret_tree = steal_fd(&tree);
	return 0;
}

int mount_set_readonly(int tree, bool with_mounts_below)
{
	return setattr(tree, MOUNT_ATTR_RDONLY, 0, 0, with_mounts_below);
}

int mount_attach(int tree, int target)
{
	if (move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return -errno;
	return 0;
}

/* The old root ends up on top of the new one, where the second "." finds it. */
int mount_pivot(int tree, struct error *err)
{
	if (fchdir(tree) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
		return error_set_errno(err, errno, "cannot pivot to the root file system");
	if (umount2(".", MNT_DETACH) < 0)
		return error_set_errno(err, errno, "cannot leave the old root");
	if (chdir("/") < 0)
		return error_set_errno(err, errno, "cannot enter the root file system");
	return 0;
}

int mount_at(const char *type, const char *source, const struct mount_options *options,
	     const char *target, struct error *err)
{
	_cleanup_close_ int tree = -EBADF, dir = -EBADF;
	int r = options->bind ? mount_bind(source, options, &tree, err)
			      : mount_new(type, source, options, &tree, err);

	if (r < 0)
		return r;
	dir = open(target, O_PATH | O_CLOEXEC);
	if (dir < 0)
		return error_set_errno(err, errno, "cannot open mount point %s", target);
	r = mount_attach(tree, dir);
	if (r < 0)
		return error_set_errno(err, r, "cannot mount on %s", target);
	return 0;
}

int mount_change(const char *path, const struct mount_options *options, struct error *err)
{
	_cleanup_close_ int fs = fspick(
		AT_FDCWD, path, FSPICK_CLOEXEC | FSPICK_NO_AUTOMOUNT | FSPICK_SYMLINK_NOFOLLOW);

	if (fs < 0)
		return error_set_errno(err, errno, "cannot change what is mounted on %s", path);
	return finish_options(fs, "it anew", options, FSCONFIG_CMD_RECONFIGURE, err);
}
