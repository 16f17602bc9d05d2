#include "shim/volumes.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"
#include "factory/vm/guest_share.h"
#include "shim/mount.h"

struct volumes {
	int dir_fd;   /* SHARE/ID/mounts; owned */
	size_t count; /* mounted there so far, as 0, 1, ... */
};

static bool has_option(const Grpc__Mount *mount, const char *name)
{
	for (size_t i = 0; i < mount->n_options; i++)
		if (str_equal(mount->options[i], name))
			return true;
	return false;
}

/* These trees are the kernel's: the guest has its own. */
static bool is_kernel_path(const char *path)
{
	static const char *const trees[] = { "/dev", "/proc", "/sys" };

	for (size_t i = 0; i < ARRAY_SIZE(trees); i++) {
		const char *rest = str_after(path, trees[i]);
		if (rest && (*rest == '\0' || *rest == '/'))
			return true;
	}
	return false;
}

static bool is_volume(const Grpc__Mount *mount)
{
	bool bind = str_equal(mount->type, "bind") || has_option(mount, "bind") ||
		    has_option(mount, "rbind");
	return bind && mount->source[0] == '/' && !is_kernel_path(mount->source);
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

static void set_source(Grpc__Mount *mount, char *source)
{
	if (mount->source != protobuf_c_empty_string)
		free(mount->source);
	mount->source = source;
}

static int mount_volume(struct volumes *volumes, const struct volumes_options *options,
			Grpc__Mount *mount, struct error *err)
{
	_cleanup_free_ char *name = xasprintf("%zu", volumes->count);
	struct mount_place place = { volumes->dir_fd, name, options->idmap, options->scratch_dir };
	int r = make_mount_point(volumes->dir_fd, name, mount->source, err);

	if (r < 0)
		return r;
	volumes->count++;
	r = mount_bind_at(&place, mount->source, has_option(mount, "rbind"),
			  has_option(mount, "ro"), err);
	if (r < 0)
		return error_wrap(err, "volume %s", mount->source);
	set_source(mount, xasprintf(GUEST_SHARE "/%s/mounts/%s", options->container_id, name));
	return 0;
}

int volumes_mount(Grpc__Spec *oci, const struct volumes_options *options,
		  struct volumes **ret_volumes, struct error *err)
{
	_cleanup_(volumes_unmount_cleanup) struct volumes *volumes = xnew(struct volumes);
	int r;

	volumes->dir_fd = -EBADF;
	r = share_folder_add(options->folder, "mounts", &volumes->dir_fd, err);
	if (r == 0)
		r = dir_make(options->scratch_dir, 0700, err);
	for (size_t i = 0; r == 0 && i < oci->n_mounts; i++)
		if (is_volume(oci->mounts[i]))
			r = mount_volume(volumes, options, oci->mounts[i], err);
	if (r == 0)
		*ret_volumes = steal_ptr(volumes);
	return r;
}

void volumes_unmount(struct volumes *volumes)
{
	if (!volumes)
		return;
	for (size_t i = 0; i < volumes->count; i++) {
		_cleanup_free_ char *name = xasprintf("%zu", i);
		mount_remove_at(volumes->dir_fd, name);
	}
	close_fd(volumes->dir_fd);
	free(volumes);
}
