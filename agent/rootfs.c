#include "agent/rootfs.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "agent/copy_up.h"
#include "agent/devices.h"
#include "agent/machine_id.h"
#include "agent/mounts.h"
#include "agent/rootpath.h"
#include "agent/spec_refused.h"
#include "base/memory.h"
#include "base/strings.h"

enum { MOUNTS_MAX = 1024 };

/* ---------------------------------------------------------------- the plan (parent) */

static bool is_dev(const char *destination)
{
	return str_equal(destination, "/dev") || str_equal(destination, "/dev/");
}

/* What v1 was told (controller names) is no option of v2. A mount by who is in the guest's own
 * cgroup namespace changes all others, so that it has the guest's (agent/boot.c). */
static void replace_cgroup_options(struct mount_options *options)
{
	options->data = xrealloc_array(options->data, 2, sizeof(*options->data));
	options->data[0] = "nsdelegate";
	options->data[1] = "memory_recursiveprot";
	options->ndata = 2;
}

static int plan_mount(struct rootfs_plan *plan, const Grpc__Mount *mount, struct error *err)
{
	struct mount_plan *entry = &plan->mounts[plan->nmounts];

	if (str_empty(mount->destination))
		return error_set(err, EINVAL, "mounts[%zu] has no destination", plan->nmounts);

	int r = mount_options_parse(mount->options, mount->n_options, &entry->options, err);
	if (r < 0)
		return error_wrap(err, "mount on %s", mount->destination);
	plan->nmounts++;
	if (entry->options.copy_up && !str_equal(mount->type, "tmpfs"))
		return error_set(err, EINVAL, "mount on %s: tmpcopyup is an option of tmpfs alone",
				 mount->destination);
	entry->mount = mount;
	entry->type = str_equal(mount->type, "cgroup") ? "cgroup2" : mount->type;
	if (str_equal(mount->type, "bind"))
		entry->options.bind = true;
	if (str_equal(entry->type, "cgroup2"))
		replace_cgroup_options(&entry->options);
	if (is_dev(mount->destination))
		plan->bind_dev = entry->options.bind;
	return 0;
}

static int check(const Grpc__Spec *spec, struct error *err)
{
	if (!spec->root || *spec->root->path != '/')
		return error_set(err, EINVAL, "root.path must be an absolute path");
	if (spec->n_mounts > MOUNTS_MAX)
		return error_set(err, EINVAL, "%zu mounts are more than %d", spec->n_mounts,
				 MOUNTS_MAX);
	return 0;
}

int rootfs_plan_init(const Grpc__Spec *spec, struct rootfs_plan *ret, struct error *err)
{
	_cleanup_(rootfs_plan_done) struct rootfs_plan plan = { .spec = spec, .proc = -EBADF };
	const char *propagation = spec->linux ? spec->linux->rootfspropagation : "";
	int r = spec_refuse(spec, err);

	if (r == 0)
		r = check(spec, err);
	if (r < 0)
		return r;
	if (propagation_parse(propagation, &plan.propagation, &plan.propagation_tree) < 0)
		return error_set(err, EINVAL, "linux.rootfsPropagation \"%.64s\" is unknown",
				 propagation);
	plan.mounts = xnew_array(struct mount_plan, spec->n_mounts + 1);
	for (size_t i = 0; i < spec->n_mounts; i++) {
		r = plan_mount(&plan, spec->mounts[i], err);
		if (r < 0)
			return r;
	}
	*ret = plan;
	plan = (struct rootfs_plan){};
	return 0;
}

static bool is_proc(const struct mount_plan *entry)
{
	return str_equal(entry->type, "proc") && !entry->options.bind;
}

int rootfs_plan_share_proc(const struct rootfs_plan *plan, struct error *err)
{
	bool is_there = false;

	for (size_t i = 0; i < plan->nmounts; i++) {
		const struct mount_plan *entry = &plan->mounts[i];
		if (!is_proc(entry))
			continue;
		if (entry->options.ndata > 0)
			return error_set(err, EOPNOTSUPP,
					 "mount on %s: option \"%s\" is not supported where "
					 "processes are shared, because the procfs is, too",
					 entry->mount->destination, entry->options.data[0]);
		if (is_there)
			return error_set(err, EOPNOTSUPP,
					 "mount on %s: a second proc is not supported where "
					 "processes are shared",
					 entry->mount->destination);
		is_there = true;
	}
	return 0;
}

void rootfs_plan_done(struct rootfs_plan *plan)
{
	for (size_t i = 0; i < plan->nmounts; i++)
		mount_options_done(&plan->mounts[i].options);
	free(plan->mounts);
	*plan = (struct rootfs_plan){};
}

/* ---------------------------------------------------------------- mounts (child) */

/* The root as a mount of its own, so that it can be pivoted to and made read-only. */
static int bind_root(const struct rootfs_plan *plan, int *ret_root, struct error *err)
{
	const char *path = plan->spec->root->path;
	bool wants_events = plan->propagation == MS_SHARED || plan->propagation == MS_SLAVE;
	unsigned long private = wants_events ? MS_SLAVE : MS_PRIVATE;
	_cleanup_close_ int tree = -EBADF, dir = -EBADF;

	/* Nothing done here may show in the guest. */
	if (mount(NULL, "/", NULL, private | MS_REC, NULL) < 0)
		return error_set_errno(err, errno, "cannot make the mounts private");
	dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return error_set_errno(err, errno, "cannot open the root file system %s", path);

	int r = mount_copy(dir, "", true, &tree, err);
	if (r < 0)
		return error_wrap(err, "root file system %s", path);
	r = mount_attach(tree, dir);
	if (r < 0)
		return error_set_errno(err, r, "cannot bind the root file system %s", path);
	*ret_root = steal_fd(&tree);
	return 0;
}

/* It is attached once: rootfs_plan_share_proc(). */
static int take_proc(const struct mount_plan *entry, int proc, int *ret_tree, struct error *err)
{
	_cleanup_close_ int tree = fcntl(proc, F_DUPFD_CLOEXEC, 3);
	int r = tree < 0 ? -errno : mount_set_options(tree, &entry->options);

	if (r < 0)
		return error_set_errno(err, r, "cannot show the processes that are shared");
	*ret_tree = steal_fd(&tree);
	return 0;
}

static int make_tree(const struct rootfs_plan *plan, const struct mount_plan *entry, int *ret_tree,
		     struct error *err)
{
	if (is_proc(entry) && plan->proc >= 0)
		return take_proc(entry, plan->proc, ret_tree, err);
	if (entry->options.bind)
		return mount_bind(entry->mount->source, &entry->options, ret_tree, err);
	return mount_new(entry->type, entry->mount->source, &entry->options, ret_tree, err);
}

static int attach(int tree, int target, struct error *err)
{
	int r = mount_attach(tree, target);

	return r < 0 ? error_set_errno(err, r, "cannot attach it") : 0;
}

static bool has_mode(const struct mount_options *options)
{
	for (size_t i = 0; i < options->ndata; i++)
		if (str_after(options->data[i], "mode="))
			return true;
	return false;
}

/* With the mode of the folder that it covers, where no other is asked for; and with what is in
 * there, where that is asked for. */
static int make_tmpfs(const struct mount_plan *entry, int covered, int *ret_tree, struct error *err)
{
	_cleanup_free_ const char **data = xnew_array(const char *, entry->options.ndata + 1);
	struct mount_options options = entry->options;
	char mode[sizeof("mode=07777")];
	struct stat st;

	if (options.ndata > 0)
		memcpy(data, options.data, options.ndata * sizeof(*data));
	options.data = data;
	if (!has_mode(&options)) {
		if (fstat(covered, &st) < 0)
			return error_set_errno(err, errno, "cannot stat the folder");
		snprintf(mode, sizeof(mode), "mode=%o", (unsigned)st.st_mode & 07777);
		data[options.ndata++] = mode;
	}
	options.attr_set &= ~(uint64_t)MOUNT_ATTR_RDONLY; /* until all is in it */
	return mount_new(entry->type, entry->mount->source, &options, ret_tree, err);
}

static int mount_tmpfs(const struct mount_plan *entry, int root, struct error *err)
{
	_cleanup_close_ int tree = -EBADF, target = -EBADF;
	int r = rootpath_make(root, entry->mount->destination, true, &target, err);

	if (r == 0)
		r = make_tmpfs(entry, target, &tree, err);
	if (r == 0 && entry->options.copy_up)
		r = copy_up(target, tree, err);
	if (r < 0)
		return r;
	/* Devices are made in /dev first. */
	if (entry->options.attr_set & MOUNT_ATTR_RDONLY && !is_dev(entry->mount->destination) &&
	    (r = mount_set_readonly(tree, false)) < 0)
		return error_set_errno(err, r, "cannot make it read-only");
	return attach(tree, target, err);
}

static bool is_of_the_kernel(const struct mount_plan *entry)
{
	return is_proc(entry) || (str_equal(entry->type, "sysfs") && !entry->options.bind);
}

/* Masked and read-only paths are looked up when all is mounted. A symlink of the image's may lead
 * elsewhere by then, through a volume say, and a proc or sysfs where it led first would stay as it
 * is. A folder that had to be made is looked up again, because rootpath_make() follows links. */
static int make_target_without_links(const struct mount_plan *entry, int root, int *ret_target,
				     struct error *err)
{
	const char *path = entry->mount->destination;
	_cleanup_close_ int made = -EBADF;
	int r = rootpath_open_no_links(root, path, ret_target);

	if (r == -ENOENT) {
		r = rootpath_make(root, path, true, &made, err);
		if (r < 0)
			return r;
		r = rootpath_open_no_links(root, path, ret_target);
	}
	if (r == -ELOOP)
		return error_set(err, ELOOP,
				 "%s must be mounted on an ordinary folder, and %s is a symlink or "
				 "below one",
				 entry->type, path);
	return r < 0 ? error_set_errno(err, r, "cannot open %s in the container", path) : 0;
}

static int mount_entry(const struct rootfs_plan *plan, const struct mount_plan *entry, int root,
		       struct error *err)
{
	_cleanup_close_ int tree = -EBADF, target = -EBADF;
	struct stat st;

	if (str_equal(entry->type, "tmpfs") && !entry->options.bind)
		return mount_tmpfs(entry, root, err);
	int r = make_tree(plan, entry, &tree, err);
	if (r < 0)
		return r;
	if (fstat(tree, &st) < 0)
		return error_set_errno(err, errno, "cannot stat the new mount");
	if (is_of_the_kernel(entry))
		r = make_target_without_links(entry, root, &target, err);
	else
		r = rootpath_make(root, entry->mount->destination, S_ISDIR(st.st_mode), &target,
				  err);
	return r < 0 ? r : attach(tree, target, err);
}

static int mount_all(const struct rootfs_plan *plan, int root, struct error *err)
{
	for (size_t i = 0; i < plan->nmounts; i++) {
		int r = mount_entry(plan, &plan->mounts[i], root, err);
		if (r < 0)
			return error_wrap(err, "error mounting \"%s\" to rootfs at \"%s\"",
					  plan->mounts[i].mount->source,
					  plan->mounts[i].mount->destination);
	}
	return 0;
}

int rootfs_prepare(const struct rootfs_plan *plan, int *ret_root, struct error *err)
{
	_cleanup_close_ int root = -EBADF;
	int r = bind_root(plan, &root, err);

	if (r == 0)
		r = mount_all(plan, root, err);
	if (r == 0)
		r = machine_id_show(root, err);
	if (r == 0 && !plan->bind_dev)
		r = devices_make(root, plan->spec->linux, err);
	if (r < 0)
		return r;
	*ret_root = steal_fd(&root);
	return 0;
}

/* ---------------------------------------------------------------- locking down (child) */

/* The empty folder that covers masked ones: made once, shown at many places. */
static int empty_folder(int *ret_tree, struct error *err)
{
	static const char *data[] = { "size=0", "nr_inodes=2" };
	const struct mount_options options = {
		.attr_set = MOUNT_ATTR_RDONLY,
		.data = data,
		.ndata = ARRAY_SIZE(data),
	};

	return mount_new("tmpfs", "tmpfs", &options, ret_tree, err);
}

/* *folder is the mount that covers an earlier folder, or -EBADF. (A mount can be copied only
 * once it is attached: Linux before 6.15.) */
static int mask_path(int *folder, int root, const char *path, struct error *err)
{
	_cleanup_close_ int target = -EBADF, tree = -EBADF;
	struct stat st;
	int r = rootpath_open(root, path, &target);

	if (r == -ENOENT || r == -ENOTDIR)
		return 0;
	if (r < 0 || fstat(target, &st) < 0)
		return error_set_errno(err, r < 0 ? r : errno, "cannot mask %s", path);
	if (!S_ISDIR(st.st_mode))
		r = mount_copy(AT_FDCWD, "/dev/null", false, &tree, err);
	else if (*folder >= 0)
		r = mount_copy(*folder, "", false, &tree, err);
	else
		r = empty_folder(&tree, err);
	if (r < 0)
		return error_wrap(err, "cannot mask %s", path);
	r = mount_attach(tree, target);
	if (r < 0)
		return error_set_errno(err, r, "cannot mask %s", path);
	if (S_ISDIR(st.st_mode) && *folder < 0)
		*folder = steal_fd(&tree);
	return 0;
}

static int mask_paths(const Grpc__Linux *linux, int root, struct error *err)
{
	_cleanup_close_ int folder = -EBADF;
	int r = 0;

	for (size_t i = 0; r == 0 && i < linux->n_maskedpaths; i++)
		r = mask_path(&folder, root, linux->maskedpaths[i], err);
	return r;
}

static int make_readonly(int root, const char *path, struct error *err)
{
	_cleanup_close_ int target = -EBADF, tree = -EBADF;
	int r = rootpath_open(root, path, &target);

	if (r == -ENOENT || r == -ENOTDIR)
		return 0;
	if (r == 0)
		r = mount_copy(target, "", true, &tree, err);
	if (r == 0)
		r = mount_set_readonly(tree, true);
	if (r == 0)
		r = mount_attach(tree, target);
	if (r < 0)
		return error_set_errno(err, r, "cannot make %s read-only", path);
	return 0;
}

/* Mounts on /dev were left writable for the devices. */
static int finish_dev(const struct rootfs_plan *plan, int root, struct error *err)
{
	for (size_t i = 0; i < plan->nmounts; i++) {
		const struct mount_plan *entry = &plan->mounts[i];
		_cleanup_close_ int dev = -EBADF;

		if (!is_dev(entry->mount->destination) || entry->options.bind ||
		    !(entry->options.attr_set & MOUNT_ATTR_RDONLY))
			continue;
		int r = rootpath_open(root, "/dev", &dev);
		if (r == 0)
			r = mount_set_readonly(dev, false);
		if (r < 0)
			return error_set_errno(err, r, "cannot make /dev read-only");
	}
	return 0;
}

static int lock_down(const struct rootfs_plan *plan, int root, struct error *err)
{
	const Grpc__Linux *linux = plan->spec->linux;
	int r = finish_dev(plan, root, err);

	for (size_t i = 0; r == 0 && linux && i < linux->n_readonlypaths; i++)
		r = make_readonly(root, linux->readonlypaths[i], err);
	if (r == 0 && linux)
		r = mask_paths(linux, root, err);
	return r;
}

int rootfs_enter(const struct rootfs_plan *plan, int root, struct error *err)
{
	unsigned long flags = plan->propagation | (plan->propagation_tree ? MS_REC : 0);
	int r = lock_down(plan, root, err);

	if (r == 0 && plan->spec->root->readonly) {
		r = mount_set_readonly(root, false);
		if (r < 0)
			error_set_errno(err, r, "cannot make the root file system read-only");
	}
	if (r == 0)
		r = mount_pivot(root, err);
	if (r == 0 && plan->propagation != MS_PRIVATE && mount(NULL, "/", NULL, flags, NULL) < 0)
		r = error_set_errno(err, errno, "cannot set linux.rootfsPropagation");
	return r;
}
