#include "shim/rootfs.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strv.h"
#include "factory/vm/guest_root.h"
#include "factory/vm/guest_share.h"
#include "factory/vm/vm.h"
#include "shim/mount.h"

static const char *const rootfs_driver_names[] = {
	[ROOTFS_OVERLAY] = "overlay",
	[ROOTFS_SHARE] = "share",
};
DEFINE_STRING_TABLE(rootfs_driver, enum rootfs_driver, rootfs_driver_names)

struct rootfs {
	char *lower;     /* owned; name in SHARE/lower; NULL: there is none */
	int lower_fd;    /* SHARE/lower; -EBADF likewise */
	char *path;      /* SHARE/ID */
	int dir_fd;      /* SHARE/ID */
	int mounts_fd;   /* SHARE/ID/mounts */
	size_t nvolumes; /* made so far */
};

/* A fresh folder, which somebody else cannot have prepared. */
static int make_folder(int dir_fd, const char *name, int *ret_fd, struct error *err)
{
	int fd;

	if (mkdirat(dir_fd, name, 0755) < 0)
		return error_set_errno(err, errno, "cannot make folder %s in the share", name);
	fd = openat(dir_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_set_errno(err, errno, "cannot open folder %s in the share", name);
	*ret_fd = fd;
	return 0;
}

static int open_share(const struct rootfs_options *options, int *ret_fd, struct error *err)
{
	int fd = open(options->share_dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return error_set_errno(err, errno, "cannot open share %s", options->share_dir);
	*ret_fd = fd;
	return 0;
}

static int make_folders(struct rootfs *rootfs, const struct rootfs_options *options,
			struct error *err)
{
	_cleanup_close_ int share = -EBADF;
	int r = open_share(options, &share, err);

	if (r == 0)
		r = make_folder(share, options->container_id, &rootfs->dir_fd, err);
	return r < 0 ? r : make_folder(rootfs->dir_fd, "mounts", &rootfs->mounts_fd, err);
}

static struct mount_place place_of(const struct rootfs_options *options, int dir_fd,
				   const char *name)
{
	return (struct mount_place){ dir_fd, name, options->idmap, options->scratch_dir };
}

static struct mount_spec spec_of(const Containerd__Types__Mount *mount)
{
	return (struct mount_spec){ mount->type, mount->source, mount->options, mount->n_options };
}

static void set_root(const struct rootfs_options *options, char *path)
{
	replace_string(&options->spec->oci->root->path, path);
	free(path);
}

/* What containerd gave, on the place. */
static int mount_given(const struct mount_place *place, const struct rootfs_options *options,
		       struct error *err)
{
	int r = 0;

	if (options->nmounts == 0)
		return mount_bind_at(place, options->spec->rootfs, true, false, err);
	for (size_t i = 0; r == 0 && i < options->nmounts; i++) {
		const struct mount_spec spec = spec_of(options->mounts[i]);
		r = mount_at(place, &spec, err);
	}
	return r;
}

/* ---------------------------------------------------------------- the share driver */

static int mount_shared(struct rootfs *rootfs, const struct rootfs_options *options,
			struct error *err)
{
	struct mount_place place = place_of(options, rootfs->dir_fd, "rootfs");
	_cleanup_close_ int root = -EBADF;
	int r = make_folder(rootfs->dir_fd, "rootfs", &root, err);

	if (r == 0)
		r = mount_given(&place, options, err);
	if (r == 0)
		set_root(options, xasprintf(GUEST_SHARE "/%s/rootfs", options->container_id));
	return r;
}

/* ---------------------------------------------------------------- the overlay driver */

/* The guest keeps what it has read of a name, so no name comes twice in a machine's life. */
static int make_lower_folder(struct rootfs *rootfs, const struct rootfs_options *options,
			     struct error *err)
{
	static unsigned next;
	_cleanup_close_ int share = -EBADF, fd = -EBADF;
	int r = open_share(options, &share, err);

	if (r < 0)
		return r;
	rootfs->lower_fd = openat(share, VM_LOWER_DIR,
				  O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (rootfs->lower_fd < 0)
		return error_set_errno(err, errno, "cannot open %s/" VM_LOWER_DIR,
				       options->share_dir);
	rootfs->lower = xasprintf("%s.%u", options->container_id, next++);
	return make_folder(rootfs->lower_fd, rootfs->lower, &fd, err);
}

static int mount_lower(struct rootfs *rootfs, const struct rootfs_options *options,
		       struct error *err)
{
	struct mount_place place = place_of(options, rootfs->lower_fd, rootfs->lower);
	_cleanup_(strv_done) struct strv layers = {};
	bool has_upper;

	if (options->nmounts == 1 && str_equal(options->mounts[0]->type, "overlay")) {
		const struct mount_spec spec = spec_of(options->mounts[0]);
		mount_layers_of(&spec, &layers, &has_upper);
		return mount_layers_at(&place, &layers, err);
	}
	int r = mount_given(&place, options, err);
	return r < 0 ? r : mount_readonly_at(&place, err);
}

static int mount_overlay(struct rootfs *rootfs, const struct rootfs_options *options,
			 struct storages *storages, struct error *err)
{
	int r = make_lower_folder(rootfs, options, err);

	if (r == 0)
		r = mount_lower(rootfs, options, err);
	if (r < 0)
		return r;
	_cleanup_free_ char *lower = xasprintf(GUEST_LOWER "/%s", rootfs->lower);
	guest_root_add_overlay(storages, options->container_id, lower);
	set_root(options, guest_root_path(options->container_id));
	return 0;
}

static int mount_root(struct rootfs *rootfs, const struct rootfs_options *options,
		      struct storages *storages, struct error *err)
{
	int r = options->driver == ROOTFS_SHARE ? mount_shared(rootfs, options, err)
						: mount_overlay(rootfs, options, storages, err);

	if (r < 0)
		return error_wrap(err, "rootfs%s%s", options->nmounts == 0 ? " " : "",
				  options->nmounts == 0 ? options->spec->rootfs : "");
	log_info(options->container_id, "root file system: %s",
		 rootfs_driver_to_string(options->driver));
	return 0;
}

/* ---------------------------------------------------------------- volumes */

/* A folder for a folder, an empty file for anything else. */
static int make_mount_point(int dir_fd, const char *name, const char *source, struct error *err)
{
	struct stat st;
	int fd;

	if (stat(source, &st) < 0)
		return error_set_errno(err, errno, "volume %s", source);
	if (S_ISDIR(st.st_mode))
		return mkdirat(dir_fd, name, 0755) < 0
			       ? error_set_errno(err, errno, "volume %s", source)
			       : 0;
	fd = openat(dir_fd, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY | O_CLOEXEC, 0644);
	if (fd < 0)
		return error_set_errno(err, errno, "volume %s", source);
	close(fd);
	return 0;
}

static int mount_volume(struct rootfs *rootfs, const struct rootfs_options *options,
			const struct spec_volume *volume, struct error *err)
{
	_cleanup_free_ char *name = xasprintf("%zu", rootfs->nvolumes);
	struct mount_place place = place_of(options, rootfs->mounts_fd, name);
	int r;

	r = make_mount_point(rootfs->mounts_fd, name, volume->source, err);
	if (r < 0)
		return r;
	rootfs->nvolumes++;
	r = mount_bind_at(&place, volume->source, volume->recursive, volume->readonly, err);
	return r < 0 ? error_wrap(err, "volume %s", volume->source) : 0;
}

/* ---------------------------------------------------------------- all of it */

static int mount_all(struct rootfs *rootfs, const struct rootfs_options *options,
		     struct storages *storages, struct error *err)
{
	int r;

	r = make_folders(rootfs, options, err);
	if (r >= 0)
		r = dir_make(options->scratch_dir, 0700, err);
	if (r >= 0)
		r = mount_root(rootfs, options, storages, err);
	for (size_t i = 0; r >= 0 && i < options->spec->nvolumes; i++)
		r = mount_volume(rootfs, options, &options->spec->volumes[i], err);
	if (r < 0 && err && err->number == ENOENT)
		err->number = EINVAL;
	return r == -ENOENT ? -EINVAL : r;
}

int rootfs_mount(const struct rootfs_options *options, struct rootfs **ret_rootfs,
		 struct storages *storages, struct error *err)
{
	_cleanup_(rootfs_unmount_cleanup) struct rootfs *rootfs = xnew(struct rootfs);
	int r;

	rootfs->path = path_join(options->share_dir, options->container_id);
	rootfs->lower_fd = -EBADF;
	rootfs->dir_fd = -EBADF;
	rootfs->mounts_fd = -EBADF;
	r = mount_all(rootfs, options, storages, err);
	if (r < 0)
		return r;
	*ret_rootfs = steal_ptr(rootfs);
	return 0;
}

void rootfs_unmount(struct rootfs *rootfs)
{
	_cleanup_(error_done) struct error err = {};

	if (!rootfs)
		return;
	for (size_t i = 0; i < rootfs->nvolumes; i++) {
		_cleanup_free_ char *name = xasprintf("%zu", i);
		mount_remove_at(rootfs->mounts_fd, name);
	}
	if (rootfs->lower) {
		mount_remove_at(rootfs->lower_fd, rootfs->lower);
		if (unlinkat(rootfs->lower_fd, rootfs->lower, AT_REMOVEDIR) < 0)
			log_debug(NULL, "left in the share: %s", rootfs->lower);
	}
	if (rootfs->dir_fd >= 0) {
		mount_remove_at(rootfs->dir_fd, "rootfs");
		if (path_remove(rootfs->path, &err) < 0)
			log_debug(NULL, "left in the share: %s", error_message(&err));
	}
	close_fd(rootfs->lower_fd);
	close_fd(rootfs->mounts_fd);
	close_fd(rootfs->dir_fd);
	free(rootfs->lower);
	free(rootfs->path);
	free(rootfs);
}
