#include "shim/rootfs.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strv.h"
#include "factory/guest/guest_root.h"
#include "factory/guest/guest_share.h"
#include "shim/container_disks.h"
#include "shim/layer_mounts.h"
#include "shim/lower_folders.h"
#include "shim/mount.h"

static const char *const rootfs_driver_names[] = {
	[ROOTFS_OVERLAY] = "overlay",
	[ROOTFS_SHARE] = "share",
	[ROOTFS_BLOCK] = "block",
};
DEFINE_STRING_TABLE(rootfs_driver, enum rootfs_driver, rootfs_driver_names)

#define ROOT "rootfs" /* in the container's folder */

struct rootfs {
	const struct share_folder *folder; /* borrowed; with what is mounted on ROOT, or NULL */
	struct lower_folders *added;       /* borrowed; with a folder that is new for it, or NULL */
};

static void set_root(const struct rootfs_options *options, const char *path)
{
	replace_string(&options->spec->oci->root->path, path);
}

static struct mount_spec spec_of(const Containerd__Types__Mount *mount)
{
	return (struct mount_spec){ mount->type, mount->source, mount->options, mount->n_options };
}

/* A fresh mount point in a folder. */
static int make_place(const struct rootfs_options *options, const struct share_folder *folder,
		      const char *name, struct mount_place *ret_place, struct error *err)
{
	_cleanup_close_ int root = -EBADF;
	int r = share_folder_add(folder, name, &root, err);

	*ret_place = (struct mount_place){ folder->fd, name, options->idmap, options->scratch_dir };
	return r < 0 ? r : dir_make(options->scratch_dir, 0700, err);
}

/* What containerd gave, as it is. */
static int mount_given(const struct rootfs_options *options, const struct mount_place *place,
		       struct error *err)
{
	int r = 0;

	if (options->nmounts == 0) {
		r = mount_bind_at(place, options->spec->rootfs, BIND_TREE, err);
		return r < 0 ? error_wrap(err, "%s", options->spec->rootfs) : 0;
	}
	for (size_t i = 0; r == 0 && i < options->nmounts; i++) {
		const struct mount_spec spec = spec_of(options->mounts[i]);
		r = mount_at(place, &spec, err);
	}
	return r;
}

static int mount_shared(struct rootfs *rootfs, const struct rootfs_options *options,
			struct error *err)
{
	_cleanup_free_ char *path = xasprintf(GUEST_SHARE "/%s/" ROOT, options->container_id);
	struct mount_place place;
	int r = make_place(options, options->folder, ROOT, &place, err);

	rootfs->folder = options->folder;
	if (r == 0)
		r = mount_given(options, &place, err);
	set_root(options, path);
	return r;
}

/* ---------------------------------------------------------------- the overlay driver */

static bool is_overlay(const struct rootfs_options *options)
{
	return options->nmounts == 1 && str_equal(options->mounts[0]->type, "overlay");
}

/* What the file is, whatever its name: the time of birth tells it from one before it. */
static void add_identity(struct strbuf *identity, const char *path)
{
	struct statx st;

	if (statx(AT_FDCWD, path, AT_NO_AUTOMOUNT, STATX_INO | STATX_BTIME, &st) < 0)
		strbuf_addf(identity, "%s\n", path); /* mounting it will say why */
	else
		strbuf_addf(identity, "%u:%u %llu %lld.%u\n", st.stx_dev_major, st.stx_dev_minor,
			    (unsigned long long)st.stx_ino, (long long)st.stx_btime.tv_sec,
			    st.stx_btime.tv_nsec);
}

static void add_mount_identity(struct strbuf *identity, const Containerd__Types__Mount *mount)
{
	strbuf_addf(identity, "%s\n", mount->type);
	for (size_t i = 0; i < mount->n_options; i++)
		strbuf_addf(identity, "%s\n", mount->options[i]);
	add_identity(identity, mount->source);
}

/* Equal for the same layers. */
static char *identity_of(const struct rootfs_options *options, const struct strv *layers)
{
	_cleanup_(strbuf_done) struct strbuf identity = {};

	for (size_t i = 0; i < layers->count; i++)
		add_identity(&identity, layers->items[i]);
	for (size_t i = 0; layers->count == 0 && i < options->nmounts; i++)
		add_mount_identity(&identity, options->mounts[i]);
	if (options->nmounts == 0)
		add_identity(&identity, options->spec->rootfs);
	return xstrdup(strbuf_text(&identity));
}

/* Without the writable side. */
static int mount_layers(const struct rootfs_options *options, const struct strv *layers,
			const struct mount_place *place, struct error *err)
{
	if (is_overlay(options))
		return mount_layers_at(place, layers, err);
	int r = mount_given(options, place, err);
	return r < 0 ? r : mount_readonly_at(place, err);
}

static int add_lower(const struct rootfs_options *options, const char *identity,
		     const struct strv *layers, const struct lower_folder **ret, struct error *err)
{
	struct mount_place place;
	int r = lower_folders_add(options->lowers, identity, ret, err);

	if (r < 0)
		return r;
	r = make_place(options, &(*ret)->folder, LOWER_ROOT, &place, err);
	if (r == 0)
		r = mount_layers(options, layers, &place, err);
	if (r < 0)
		lower_folders_undo(options->lowers);
	return r;
}

/* The layers themselves; *ret_guest is where the guest sees them. */
static int mount_lower(struct rootfs *rootfs, const struct rootfs_options *options,
		       char **ret_guest, struct error *err)
{
	_cleanup_(strv_done) struct strv layers = {};
	const struct lower_folder *lower;
	int r = 0;

	if (is_overlay(options)) {
		const struct mount_spec spec = spec_of(options->mounts[0]);
		bool has_upper;
		mount_layers_of(&spec, &layers, &has_upper);
	}
	_cleanup_free_ char *identity = identity_of(options, &layers);
	lower = lower_folders_find(options->lowers, identity);
	if (!lower) {
		r = add_lower(options, identity, &layers, &lower, err);
		rootfs->added = r == 0 ? options->lowers : NULL;
	}
	if (r == 0)
		*ret_guest = xasprintf(GUEST_LOWER "/%s/" LOWER_ROOT, lower->name);
	return r;
}

static int mount_overlay(struct rootfs *rootfs, const struct rootfs_options *options,
			 struct storages *storages, struct error *err)
{
	_cleanup_free_ char *path = guest_root_path(options->container_id);
	const struct layer_image *image = options->image;
	_cleanup_(strv_done) struct strv lowers = {};
	char *lower = NULL;
	int r = 0;

	if (image->window && image->layout.count > 0)
		guest_root_add_window_layers(storages, image->window, &image->layout, &lowers);
	else if (image->window)
		lower = guest_root_add_window(storages, image->window);
	else if (image->slot == LAYER_IMAGE_NONE)
		r = mount_lower(rootfs, options, &lower, err);
	else if (image->layout.count > 0)
		guest_root_add_slot_layers(storages, (size_t)image->slot, &image->layout, &lowers);
	else
		lower = guest_root_add_slot(storages, (size_t)image->slot);
	if (lower)
		strv_take(&lowers, lower);
	guest_root_add_overlay(storages, options->container_id, &lowers, options->upper);
	set_root(options, path);
	return r;
}

static const char *over_what(const struct layer_image *image)
{
	bool many = image->layout.count > 0;

	if (image->window)
		return many ? " over the images of its layers, by DAX"
			    : " over an image of its layers, by DAX";
	if (image->slot == LAYER_IMAGE_NONE)
		return "";
	return many ? " over the images of its layers" : " over an image of its layers";
}

/* The disk's storage comes with the container's other disks. */
static int mount_block(const struct rootfs_options *options)
{
	_cleanup_free_ char *path = guest_root_path(options->container_id);

	set_root(options, path);
	return 0;
}

/* ---------------------------------------------------------------- all of them */

int rootfs_choose(enum rootfs_driver wanted, const struct layer_mounts *layers,
		  Containerd__Types__Mount *const *mounts, size_t nmounts, enum rootfs_driver *ret,
		  struct error *err)
{
	bool is_block = container_disks_have_root(mounts, nmounts);

	if (wanted == ROOTFS_BLOCK && !is_block)
		return error_set(err, EINVAL,
				 "rootfs: the driver block is asked for, and the snapshotter gives "
				 "no block device");
	/* Mounted on the host, an image would be looked into by the host's kernel. */
	if (wanted == ROOTFS_SHARE && layers->count > 0)
		return error_set(err, EOPNOTSUPP,
				 "rootfs: images of layers are mounted in the guest alone: they "
				 "need io.kiln.rootfs=overlay");
	*ret = wanted == ROOTFS_OVERLAY && is_block ? ROOTFS_BLOCK : wanted;
	return 0;
}

static int mount_by_driver(struct rootfs *rootfs, const struct rootfs_options *options,
			   struct storages *storages, struct error *err)
{
	switch (options->driver) {
	case ROOTFS_OVERLAY:
		return mount_overlay(rootfs, options, storages, err);
	case ROOTFS_SHARE:
		return mount_shared(rootfs, options, err);
	case ROOTFS_BLOCK:
		return mount_block(options);
	}
	return 0;
}

int rootfs_mount(const struct rootfs_options *options, struct storages *storages,
		 struct rootfs **ret_rootfs, struct error *err)
{
	_cleanup_(rootfs_undo_cleanup) struct rootfs *rootfs = xnew(struct rootfs);

	int r = mount_by_driver(rootfs, options, storages, err);
	if (r == 0)
		r = FAULT_ERROR("root.mounted", err);
	if (r < 0)
		return error_wrap(err, "rootfs");
	log_info(options->container_id, "root file system: %s%s%s",
		 rootfs_driver_to_string(options->driver), over_what(options->image),
		 options->upper ? ", written to the snapshotter's image" : "");
	*ret_rootfs = steal_ptr(rootfs);
	return 0;
}

void rootfs_undo(struct rootfs *rootfs)
{
	if (rootfs && rootfs->added)
		lower_folders_undo(rootfs->added);
	rootfs_unmount(rootfs);
}

void rootfs_unmount(struct rootfs *rootfs)
{
	if (!rootfs)
		return;
	if (rootfs->folder && rootfs->folder->fd >= 0)
		mount_remove_at(rootfs->folder->fd, ROOT);
	free(rootfs);
}
