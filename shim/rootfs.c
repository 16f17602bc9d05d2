#include "shim/rootfs.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "shim/mount.h"

struct rootfs {
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

static int make_folders(struct rootfs *rootfs, const struct rootfs_options *options,
			struct error *err)
{
	_cleanup_close_ int share = -EBADF;
	_cleanup_close_ int root = -EBADF;
	int r;

	share = open(options->share_dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (share < 0)
		return error_set_errno(err, errno, "cannot open share %s", options->share_dir);
	r = make_folder(share, options->container_id, &rootfs->dir_fd, err);
	if (r >= 0)
		r = make_folder(rootfs->dir_fd, "rootfs", &root, err);
	if (r >= 0)
		r = make_folder(rootfs->dir_fd, "mounts", &rootfs->mounts_fd, err);
	return r;
}

static struct mount_place place_of(const struct rootfs_options *options, int dir_fd,
				   const char *name)
{
	return (struct mount_place){ dir_fd, name, options->idmap, options->scratch_dir };
}

static int mount_root(struct rootfs *rootfs, const struct rootfs_options *options,
		      struct error *err)
{
	struct mount_place place = place_of(options, rootfs->dir_fd, "rootfs");
	int r;

	if (options->nmounts == 0) {
		r = mount_bind_at(&place, options->spec->rootfs, true, false, err);
		return r < 0 ? error_wrap(err, "rootfs %s", options->spec->rootfs) : 0;
	}
	for (size_t i = 0; i < options->nmounts; i++) {
		const Containerd__Types__Mount *mount = options->mounts[i];
		struct mount_spec spec = { mount->type, mount->source, mount->options,
					   mount->n_options };
		r = mount_at(&place, &spec, err);
		if (r < 0)
			return error_wrap(err, "rootfs");
	}
	return 0;
}

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

static int mount_all(struct rootfs *rootfs, const struct rootfs_options *options, struct error *err)
{
	int r;

	r = make_folders(rootfs, options, err);
	if (r >= 0)
		r = dir_make(options->scratch_dir, 0700, err);
	if (r >= 0)
		r = mount_root(rootfs, options, err);
	for (size_t i = 0; r >= 0 && i < options->spec->nvolumes; i++)
		r = mount_volume(rootfs, options, &options->spec->volumes[i], err);
	if (r < 0 && err && err->number == ENOENT)
		err->number = EINVAL;
	return r == -ENOENT ? -EINVAL : r;
}

int rootfs_mount(const struct rootfs_options *options, struct rootfs **ret_rootfs,
		 struct error *err)
{
	_cleanup_(rootfs_unmount_cleanup) struct rootfs *rootfs = xnew(struct rootfs);
	int r;

	rootfs->path = path_join(options->share_dir, options->container_id);
	rootfs->dir_fd = -EBADF;
	rootfs->mounts_fd = -EBADF;
	r = mount_all(rootfs, options, err);
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
	if (rootfs->dir_fd >= 0) {
		mount_remove_at(rootfs->dir_fd, "rootfs");
		if (path_remove(rootfs->path, &err) < 0)
			log_debug(NULL, "left in the share: %s", error_message(&err));
	}
	close_fd(rootfs->mounts_fd);
	close_fd(rootfs->dir_fd);
	free(rootfs->path);
	free(rootfs);
}
