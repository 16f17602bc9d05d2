#include "shim/rootfs.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/memory.h"
#include "shim/mount.h"

struct rootfs {
	const struct share_folder *folder; /* borrowed */
};

static int mount_root(const struct rootfs_options *options, struct error *err)
{
	struct mount_place place = { options->folder->fd, "rootfs", options->idmap,
				     options->scratch_dir };
	_cleanup_close_ int root = -EBADF;
	int r = share_folder_add(options->folder, "rootfs", &root, err);

	if (r == 0)
		r = dir_make(options->scratch_dir, 0700, err);
	if (r < 0)
		return r;

	if (options->nmounts == 0) {
		r = mount_bind_at(&place, options->spec->rootfs, BIND_TREE, err);
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

int rootfs_mount(const struct rootfs_options *options, struct rootfs **ret_rootfs,
		 struct error *err)
{
	_cleanup_(rootfs_unmount_cleanup) struct rootfs *rootfs = xnew(struct rootfs);
	int r;

	rootfs->folder = options->folder;
	r = mount_root(options, err);
	if (r < 0)
		return r;
	*ret_rootfs = steal_ptr(rootfs);
	return 0;
}

void rootfs_unmount(struct rootfs *rootfs)
{
	if (!rootfs)
		return;
	mount_remove_at(rootfs->folder->fd, "rootfs");
	free(rootfs);
}
