#include "agent/devices.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "agent/mounts.h"
#include "agent/rootpath.h"
#include "base/strings.h"

#define PASSING_NAME ".kiln-device" /* in /dev, for a moment */

enum { MODE_BITS = 07777 };

struct node {
	mode_t mode; /* with its type */
	dev_t number;
	uid_t uid;
	gid_t gid;
};

static const struct {
	const char *name;
	unsigned major, minor;
} default_devices[] = {
	{ "null", 1, 3 },   { "zero", 1, 5 },    { "full", 1, 7 },
	{ "random", 1, 8 }, { "urandom", 1, 9 }, { "tty", 5, 0 },
};

static const struct {
	const char *name, *target;
} links[] = {
	{ "fd", "/proc/self/fd" },       { "stdin", "/proc/self/fd/0" },
	{ "stdout", "/proc/self/fd/1" }, { "stderr", "/proc/self/fd/2" },
	{ "ptmx", "pts/ptmx" },
};

/* What stands there may stay if it is the same device. */
static int make_node(int dir, const char *name, mode_t mode, dev_t device)
{
	struct stat st;

	if (mknodat(dir, name, mode, device) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return (st.st_mode & S_IFMT) == (mode & S_IFMT) && st.st_rdev == device ? 0 : -EEXIST;
}

static int make_defaults(int dir, struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(default_devices); i++) {
		int r = make_node(dir, default_devices[i].name, S_IFCHR | 0666,
				  makedev(default_devices[i].major, default_devices[i].minor));
		if (r < 0)
			return error_set_errno(err, r, "cannot make device /dev/%s",
					       default_devices[i].name);
	}
	for (size_t i = 0; i < ARRAY_SIZE(links); i++)
		if (symlinkat(links[i].target, dir, links[i].name) < 0 && errno != EEXIST)
			return error_set_errno(err, errno, "cannot make link /dev/%s",
					       links[i].name);
	return 0;
}

static int node_type(const char *type, mode_t *ret)
{
	if (str_equal(type, "c") || str_equal(type, "u"))
		*ret = S_IFCHR;
	else if (str_equal(type, "b"))
		*ret = S_IFBLK;
	else if (str_equal(type, "p"))
		*ret = S_IFIFO;
	else
		return -EINVAL;
	return 0;
}

static int make_owned_node(int dir, const char *name, const struct node *node)
{
	int r = make_node(dir, name, node->mode, node->number);

	if (r == 0 && (node->uid || node->gid) &&
	    fchownat(dir, name, node->uid, node->gid, AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
	return r;
}

static int mount_node(int root, int dev, const char *path, struct error *err)
{
	_cleanup_close_ int tree = -EBADF, target = -EBADF;
	int r = mount_copy(dev, PASSING_NAME, false, &tree, err);

	if (r == 0)
		r = rootpath_make(root, path, false, &target, err);
	if (r < 0)
		return r;
	r = mount_attach(tree, target);
	return r < 0 ? error_set_errno(err, r, "cannot mount it") : 0;
}

/* The root may be nodev (by 9p), so a device of another folder is made here in /dev and mounted
 * there. */
static int make_elsewhere(int root, int dev, const char *path, const struct node *node,
			  struct error *err)
{
	int r = make_owned_node(dev, PASSING_NAME, node);

	if (r < 0)
		return error_set_errno(err, r, "cannot make it in /dev");
	r = mount_node(root, dev, path, err);
	(void)!unlinkat(dev, PASSING_NAME, 0);
	return r;
}

static int make_device(int root, int dev, const Grpc__LinuxDevice *device, struct error *err)
{
	_cleanup_close_ int dir = -EBADF;
	const char *name;
	mode_t type;

	/* A privileged container's list has the host's; a container's own terminals are its
	 * devpts, which the link above leads to. */
	if (str_equal(device->path, "/dev/ptmx"))
		return 0;
	if (node_type(device->type, &type) < 0)
		return error_set(err, EINVAL, "device %.256s has the unknown type \"%.64s\"",
				 device->path, device->type);

	const struct node node = {
		.mode = type | (device->filemode ? device->filemode & MODE_BITS : 0666),
		.number = type == S_IFIFO
				  ? 0
				  : makedev((unsigned)device->major, (unsigned)device->minor),
		.uid = device->uid,
		.gid = device->gid,
	};
	if (type != S_IFIFO && !str_after(device->path, "/dev/")) {
		int r = make_elsewhere(root, dev, device->path, &node, err);
		return r < 0 ? error_wrap(err, "device %s", device->path) : 0;
	}
	int r = rootpath_parent(root, device->path, &dir, &name, err);
	if (r < 0)
		return r;
	r = make_owned_node(dir, name, &node);
	if (r < 0)
		return error_set_errno(err, r, "cannot make device %s", device->path);
	return 0;
}

int devices_make(int root, const Grpc__Linux *linux, struct error *err)
{
	_cleanup_close_ int dev = -EBADF;
	int r = rootpath_make(root, "/dev", true, &dev, err);

	if (r == 0)
		r = make_defaults(dev, err);
	if (r == -EROFS) {
		error_done(err);
		return 0;
	}
	for (size_t i = 0; r == 0 && linux && i < linux->n_devices; i++)
		r = make_device(root, dev, linux->devices[i], err);
	return r;
}

int devices_bind_console(int root, int terminal, struct error *err)
{
	_cleanup_close_ int tree = -EBADF, target = -EBADF;
	int r = mount_copy(terminal, "", false, &tree, err);

	if (r == 0)
		r = rootpath_make(root, "/dev/console", false, &target, err);
	if (r < 0)
		return r;
	r = mount_attach(tree, target);
	if (r < 0)
		return error_set_errno(err, r, "cannot make /dev/console");
	return 0;
}
