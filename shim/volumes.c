#include "shim/volumes.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"
#include "factory/guest/guest_share.h"
#include "factory/guest/guest_volumes.h"
#include "proto/message_text.h"
#include "shim/large_ids.h"
#include "shim/late_mounts.h"
#include "shim/mount.h"
#include "shim/mountinfo.h"
#include "shim/volume_copy.h"
#include "shim/volume_guest.h"
#include "shim/volume_kind.h"
#include "shim/volume_overlay.h"

#define COPY_MAX (1u << 20) /* bytes of a file that is copied */

static const char *const volumes_driver_names[] = {
	[VOLUMES_9P] = "9p",
	[VOLUMES_VIRTIOFS] = "virtiofs",
	[VOLUMES_VIRTIOFS_LOCKS] = "virtiofs-locks",
};
DEFINE_STRING_TABLE(volumes_driver, enum volumes_driver, volumes_driver_names)

struct volumes {
	int dir_fd;         /* SHARE/ID/mounts; owned */
	size_t count;       /* mounted there so far, as 0, 1, ... */
	struct strv slaves; /* paths of those in the jail below which more may be mounted; owned */
	struct late_mounts *late;    /* NULL: there are none of these */
	struct volume_copy **copies; /* owned */
	size_t ncopies;
};

/* ---------------------------------------------------------------- without idmapped mounts */

static int copy_file(const struct mount_place *place, const char *path, const struct stat *st,
		     struct error *err)
{
	_cleanup_free_ char *data = NULL;
	size_t len;
	int r = file_read(path, COPY_MAX, &data, &len, err);

	if (r < 0)
		return r;
	_cleanup_close_ int fd = openat(place->dir_fd, place->name,
					O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || write_full(fd, data, len) < 0 ||
	    fchown(fd, large_ids_on_host(place->idmap, st->st_uid),
		   large_ids_on_host(place->idmap, st->st_gid)) < 0 ||
	    fchmod(fd, st->st_mode & 07777) < 0)
		return error_set_errno(err, errno, "cannot copy %s", path);
	return 0;
}

/* A kubelet's volume. -EOPNOTSUPP: it is none. */
static int copy_folder(struct volumes *volumes, struct loop *loop, const struct mount_place *place,
		       const struct mountinfo *info, const char *path, struct error *err)
{
	enum volume_form form = volume_form_of(path, info);
	struct volume_copy *copy;

	if (form == VOLUME_FORM_OTHER || mountinfo_has_below(info, path))
		return -EOPNOTSUPP;
	int r = volume_copy_new(loop, place, path, form, &copy, err);
	if (r < 0)
		return r;
	volumes->copies = xrealloc_array(volumes->copies, volumes->ncopies + 1,
					 sizeof(struct volume_copy *));
	volumes->copies[volumes->ncopies++] = copy;
	return 0;
}

/* The source's file system, which is named in *err already, knows none: read-only volumes can be
 * shown all the same. */
static int show_unmapped(struct volumes *volumes, struct loop *loop,
			 const struct mount_place *place, const char *source,
			 const struct mountinfo *info, struct error *err)
{
	_cleanup_(error_done) struct error why = {};
	_cleanup_free_ char *real = realpath(source, NULL);
	const struct mountinfo_entry *entry = real ? mountinfo_find(info, real) : NULL;
	struct stat st;
	int r = -EOPNOTSUPP;

	if (!entry || stat(real, &st) < 0)
		return -err->number;
	bool is_tmpfs = str_equal(entry->type, "tmpfs");
	if (S_ISDIR(st.st_mode) && is_tmpfs)
		r = copy_folder(volumes, loop, place, info, real, &why);
	else if (S_ISDIR(st.st_mode))
		r = volume_overlay_mount(place, entry, real, &why);
	else if (S_ISREG(st.st_mode) && st.st_size <= COPY_MAX)
		r = copy_file(place, real, &st, &why);
	if (r < 0 && r != -EOPNOTSUPP && is_tmpfs) {
		error_move(err, &why);
		return error_wrap(err, "it has to be copied, as %s knows no idmapped mounts",
				  entry->type);
	}
	if (r < 0)
		return -err->number;
	error_done(err);
	if (is_tmpfs || S_ISREG(st.st_mode))
		log_info(NULL, "volume %s is a copy: %s knows no idmapped mounts", source,
			 entry->type);
	return 0;
}

/* ---------------------------------------------------------------- in the share */

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

static unsigned bind_flags(const Grpc__Mount *mount)
{
	static const struct {
		const char *option;
		unsigned flags;
	} table[] = {
		{ "rbind", BIND_TREE },    { "ro", BIND_READONLY },  { "rro", BIND_READONLY_TREE },
		{ "slave", BIND_SLAVE },   { "rslave", BIND_SLAVE }, { "shared", BIND_SLAVE },
		{ "rshared", BIND_SLAVE },
	};
	unsigned flags = 0;

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (mount_has_option(mount, table[i].option))
			flags |= table[i].flags;
	return flags;
}

static void drop_option(Grpc__Mount *mount, const char *name)
{
	size_t kept = 0;

	for (size_t i = 0; i < mount->n_options; i++) {
		if (str_equal(mount->options[i], name))
			free(mount->options[i]);
		else
			mount->options[kept++] = mount->options[i];
	}
	mount->n_options = kept;
}

/* The guest has one mount for the whole tree. Where `ro` holds for a part of it only, the host
 * alone sees to it. */
static void leave_readonly_to_the_host(Grpc__Mount *mount, unsigned flags,
				       const struct mountinfo *info)
{
	_cleanup_free_ char *real = realpath(mount->source, NULL);

	if (flags & BIND_TREE && flags & BIND_READONLY && !(flags & BIND_READONLY_TREE) && real &&
	    mountinfo_has_below(info, real))
		drop_option(mount, "ro");
}

static bool is_for_the_jail(const struct volumes_options *options, const struct mountinfo *info,
			    const char *source, unsigned flags)
{
	_cleanup_free_ char *real = realpath(source, NULL);

	return flags & BIND_TREE && options->driver == VOLUMES_9P && options->idmap->userns >= 0 &&
	       (flags & BIND_SLAVE || (real && mountinfo_has_below(info, real)));
}

static int bind_volume(struct volumes *volumes, const struct mount_place *place,
		       const struct volumes_options *options, const struct mountinfo *info,
		       const char *source, unsigned flags, struct error *err)
{
	_cleanup_free_ char *path = xasprintf("%s/mounts/%s", options->folder->path, place->name);

	if (!is_for_the_jail(options, info, source, flags))
		return mount_bind_at(place, source, flags, err);
	if (flags & BIND_SLAVE)
		strv_add(&volumes->slaves, path);
	return mount_bind_in_jail(place, options->vmm_pidfd, path, source, flags, err);
}

/* Where the guest finds what is mounted in the share as `name`. */
static void name_for_guest(const struct volumes_options *options, const char *name,
			   Grpc__Mount *mount)
{
	_cleanup_free_ char *path = xasprintf("mounts/%s", name);

	message_text_set(&mount->source,
			 options->driver == VOLUMES_9P
				 ? xasprintf(GUEST_SHARE "/%s/%s", options->container_id, path)
				 : guest_volumes_path(options->container_id, path));
}

static int mount_in_share(struct volumes *volumes, const struct volumes_options *options,
			  const struct mountinfo *info, Grpc__Mount *mount, struct error *err)
{
	_cleanup_free_ char *name = xasprintf("%zu", volumes->count);
	struct mount_place place = { volumes->dir_fd, name, options->idmap, options->scratch_dir };
	unsigned flags = bind_flags(mount);
	int r = make_mount_point(volumes->dir_fd, name, mount->source, err);

	if (r < 0)
		return r;
	volumes->count++;
	r = bind_volume(volumes, &place, options, info, mount->source, flags, err);
	if (r == -EINVAL && flags & (BIND_READONLY | BIND_READONLY_TREE))
		r = show_unmapped(volumes, options->loop, &place, mount->source, info, err);
	if (r == 0)
		r = FAULT_ERROR("volume.mounted", err);
	if (r < 0)
		return error_wrap(err, "volume %s", mount->source);
	leave_readonly_to_the_host(mount, flags, info);
	name_for_guest(options, name, mount);
	return 0;
}

static int make_overlay_in_share(struct volumes *volumes, const struct volumes_options *options,
				 Grpc__Mount *mount, struct error *err)
{
	_cleanup_free_ char *name = xasprintf("%zu", volumes->count);
	struct mount_place place = { volumes->dir_fd, name, options->idmap, options->scratch_dir };

	if (mkdirat(volumes->dir_fd, name, 0755) < 0)
		return error_set_errno(err, errno, "volume %s", mount->destination);
	volumes->count++;
	if (volume_overlay_make(&place, mount, err) < 0)
		return error_wrap(err, "volume %s", mount->destination);
	name_for_guest(options, name, mount);
	return 0;
}

/* ---------------------------------------------------------------- all of them */

static int mount_one(struct volumes *volumes, const Grpc__Spec *oci,
		     const struct volumes_options *options, const struct mountinfo *info,
		     struct storages *storages, Grpc__Mount *mount, struct error *err)
{
	_cleanup_(volume_home_done) struct volume_home home = {};
	enum volume_kind kind;
	int r;

	if (options->shares_shm && volume_is_shm(mount)) {
		volume_guest_add_shm(mount, storages);
		return 0;
	}
	if (volume_overlay_is_asked(mount))
		return make_overlay_in_share(volumes, options, mount, err);
	r = volume_classify(oci, mount, info, &kind, &home, err);
	if (r < 0)
		return r;
	switch (kind) {
	case VOLUME_NONE:
		return 0;
	case VOLUME_HOST:
		return mount_in_share(volumes, options, info, mount, err);
	case VOLUME_FOLDER:
	case VOLUME_MEMORY:
		return volume_guest_add(mount, kind, &home, storages, err);
	}
	return 0;
}

static int watch_slaves(struct volumes *volumes, const struct volumes_options *options,
			struct error *err)
{
	const struct late_mounts_options late = {
		.loop = options->loop,
		.vmm_pid = options->vmm_pid,
		.vmm_pidfd = options->vmm_pidfd,
		.idmap = options->idmap,
		.points = &volumes->slaves,
	};

	return volumes->slaves.count > 0 ? late_mounts_new(&late, &volumes->late, err) : 0;
}

int volumes_mount(Grpc__Spec *oci, const struct volumes_options *options, struct storages *storages,
		  struct volumes **ret_volumes, struct error *err)
{
	_cleanup_(volumes_unmount_cleanup) struct volumes *volumes = xnew(struct volumes);
	_cleanup_(mountinfo_done) struct mountinfo info = {};
	int r;

	volumes->dir_fd = -EBADF;
	r = share_folder_add(options->folder, "mounts", &volumes->dir_fd, err);
	if (r == 0)
		r = dir_make(options->scratch_dir, 0700, err);
	if (r == 0)
		r = mountinfo_read(0, &info, err);
	for (size_t i = 0; r == 0 && i < oci->n_mounts; i++)
		r = mount_one(volumes, oci, options, &info, storages, oci->mounts[i], err);
	if (r == 0)
		r = watch_slaves(volumes, options, err);
	if (r == 0 && options->driver != VOLUMES_9P && volumes->count > 0)
		guest_volumes_add(storages, options->container_id);
	if (r == 0)
		*ret_volumes = steal_ptr(volumes);
	return r;
}

void volumes_unmount(struct volumes *volumes)
{
	if (!volumes)
		return;
	late_mounts_free(volumes->late);
	for (size_t i = 0; i < volumes->ncopies; i++)
		volume_copy_free(volumes->copies[i]);
	free(volumes->copies);
	strv_done(&volumes->slaves);
	for (size_t i = 0; i < volumes->count; i++) {
		_cleanup_free_ char *name = xasprintf("%zu", i);
		mount_remove_at(volumes->dir_fd, name);
	}
	close_fd(volumes->dir_fd);
	free(volumes);
}
