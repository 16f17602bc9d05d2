#include "shim/mount.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "shim/jail_mount.h"

#define DATA_MAX  4095 /* mount(2) takes one page, with its terminator */
#define STACK_MAX 64   /* mounts on one place that are taken away */

static const struct option {
	const char *name;
	unsigned long set;
	unsigned long clear;
} flag_options[] = {
	{ "async", 0, MS_SYNCHRONOUS },
	{ "atime", 0, MS_NOATIME },
	{ "bind", MS_BIND, 0 },
	{ "defaults", 0, 0 },
	{ "dev", 0, MS_NODEV },
	{ "diratime", 0, MS_NODIRATIME },
	{ "dirsync", MS_DIRSYNC, 0 },
	{ "exec", 0, MS_NOEXEC },
	{ "mand", MS_MANDLOCK, 0 },
	{ "noatime", MS_NOATIME, 0 },
	{ "nodev", MS_NODEV, 0 },
	{ "nodiratime", MS_NODIRATIME, 0 },
	{ "noexec", MS_NOEXEC, 0 },
	{ "nomand", 0, MS_MANDLOCK },
	{ "norelatime", 0, MS_RELATIME },
	{ "nosuid", MS_NOSUID, 0 },
	{ "rbind", MS_BIND | MS_REC, 0 },
	{ "relatime", MS_RELATIME, 0 },
	{ "ro", MS_RDONLY, 0 },
	{ "rw", 0, MS_RDONLY },
	{ "strictatime", MS_STRICTATIME, 0 },
	{ "suid", 0, MS_NOSUID },
	{ "sync", MS_SYNCHRONOUS, 0 },
};

static const struct option *find_flag(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(flag_options); i++)
		if (str_equal(flag_options[i].name, name))
			return &flag_options[i];
	return NULL;
}

static int parse_options(const struct mount_spec *spec, unsigned long *ret_flags,
			 struct strbuf *data, struct error *err)
{
	unsigned long flags = 0;

	for (size_t i = 0; i < spec->noptions; i++) {
		const char *name = spec->options[i];
		const struct option *option = find_flag(name);
		if (str_equal(name, "loop") || str_equal(name, "remount"))
			return error_set(err, EINVAL, "mount option \"%s\" is not supported", name);
		if (option)
			flags = (flags & ~option->clear) | option->set;
		else
			strbuf_addf(data, "%s%s", data->len ? "," : "", name);
	}
	*ret_flags = flags;
	return 0;
}

/* The folder or file itself, no link. */
static int open_target(const struct mount_place *place, int *ret_fd, struct error *err)
{
	int fd = openat(place->dir_fd, place->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return error_set_errno(err, errno, "cannot open mount point %s", place->name);
	*ret_fd = fd;
	return 0;
}

static int refuse_unmapped(const char *source, struct error *err)
{
	struct statfs fs;
	bool is_tmpfs = statfs(source, &fs) == 0 && fs.f_type == TMPFS_MAGIC;

	return error_set(err, EINVAL,
			 "cannot bind %s: its file system, or one mounted below it, knows no "
			 "idmapped mounts%s, which a VMM that is not root needs (docs/FILES.md "
			 "says what can be done)",
			 source, is_tmpfs ? " (a tmpfs does since Linux 6.3)" : "");
}

/* A copy of what is mounted at source, attached nowhere yet. */
static int copy_tree(const struct idmap *idmap, const char *source, unsigned flags, int *ret_fd,
		     struct error *err)
{
	bool mapped = idmap->userns >= 0;
	struct mount_attr attr = {
		.attr_set = MOUNT_HARMLESS | (mapped ? MOUNT_ATTR_IDMAP : 0) |
			    (flags & BIND_READONLY_TREE ? MOUNT_ATTR_RDONLY : 0),
		.propagation = flags & BIND_SLAVE ? MS_SLAVE : MS_PRIVATE,
		.userns_fd = mapped ? (unsigned)idmap->userns : 0,
	};
	struct mount_attr readonly = { .attr_set = MOUNT_ATTR_RDONLY };
	unsigned deep = flags & BIND_TREE ? AT_RECURSIVE : 0u;
	_cleanup_close_ int fd = open_tree(AT_FDCWD, source,
					   OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | deep);

	if (fd < 0)
		return error_set_errno(err, errno, "cannot bind %s", source);
	int r = mapped ? FAULT_ERROR("mapping.made", NULL) : 0;
	if (r == 0 && mount_setattr(fd, "", AT_EMPTY_PATH | deep, &attr, sizeof(attr)) < 0)
		r = -errno;
	if (mapped && (r == -EINVAL || r == -EPERM))
		return refuse_unmapped(source, err);
	if (r < 0)
		return error_set_errno(err, r, "cannot bind %s", source);
	if (flags & BIND_READONLY &&
	    mount_setattr(fd, "", AT_EMPTY_PATH, &readonly, sizeof(readonly)) < 0)
		return error_set_errno(err, errno, "cannot make %s read-only", source);
	*ret_fd = steal_fd(&fd);
	return 0;
}

static int attach_tree(int tree, int target, const char *what, struct error *err)
{
	if (move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return error_set_errno(err, errno, "cannot mount %s", what);
	return 0;
}

int mount_bind_at(const struct mount_place *place, const char *source, unsigned flags,
		  struct error *err)
{
	_cleanup_close_ int target = -EBADF;
	_cleanup_close_ int tree = -EBADF;

	int r = open_target(place, &target, err);
	if (r == 0)
		r = copy_tree(place->idmap, source, flags, &tree, err);
	return r < 0 ? r : attach_tree(tree, target, source, err);
}

int mount_bind_in_jail(const struct mount_place *place, int vmm_pidfd, const char *path,
		       const char *source, unsigned flags, struct error *err)
{
	_cleanup_close_ int tree = -EBADF;
	int r = copy_tree(place->idmap, source, flags, &tree, err);

	return r < 0 ? r : jail_mount_attach(vmm_pidfd, tree, path, err);
}

int mount_narrow_at(const struct mount_place *place, const char *sub, struct error *err)
{
	struct mount_attr private = { .propagation = MS_PRIVATE };
	_cleanup_close_ int whole = -EBADF, tree = -EBADF, target = -EBADF;
	int r = open_target(place, &whole, err);

	if (r < 0)
		return r;
	tree = open_tree(whole, sub, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
	if (tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH, &private, sizeof(private)) < 0)
		return error_set_errno(err, errno, "cannot bind %s", sub);
	mount_remove_at(place->dir_fd, place->name);
	r = open_target(place, &target, err);
	return r < 0 ? r : attach_tree(tree, target, sub, err);
}

/* The folder that all paths of lowerdir, upperdir and workdir are in, with its slash. */
static char *common_folder(const char *data)
{
	const char *first = strchr(data, '/');
	size_t len = first ? strcspn(first, ":,") : 0;

	for (const char *p = data; first && *p; p++) {
		size_t same = 0;
		if (*p != '/' || p == data || !strchr("=:", p[-1]))
			continue;
		while (same < len && p[same] == first[same])
			same++;
		len = same;
	}
	while (len > 0 && first[len - 1] != '/')
		len--;
	return len > 1 ? xstrndup(first, len) : NULL;
}

/* The options with their paths relative to folder. */
static char *shorten(const char *data, const char *folder)
{
	_cleanup_(strbuf_done) struct strbuf b = {};
	size_t len = strlen(folder);

	for (const char *p = data; *p; p++) {
		if (*p == '/' && p > data && strchr("=:", p[-1]) && strncmp(p, folder, len) == 0)
			p += len - 1;
		else
			strbuf_add(&b, p, 1);
	}
	return strbuf_steal(&b);
}

/* An overlay shows its layers' files as whose they are in the layers, so these are mounted for
 * the machine, for as long as it takes; the overlay itself cannot be. They are all in one folder
 * and no mounts below it. */
static int mount_layers(const struct mount_place *place, const char *folder, struct error *err)
{
	_cleanup_close_ int scratch = -EBADF;
	_cleanup_close_ int tree = -EBADF;

	if (place->idmap->userns < 0)
		return 0;
	scratch = open(place->scratch, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (scratch < 0)
		return error_set_errno(err, errno, "cannot open %s", place->scratch);
	int r = copy_tree(place->idmap, folder, 0, &tree, err);
	return r < 0 ? r : attach_tree(tree, scratch, folder, err);
}

static void unmount_layers(const struct mount_place *place)
{
	if (place->idmap->userns >= 0)
		umount2(place->scratch, MNT_DETACH | UMOUNT_NOFOLLOW);
}

/* In a folder, with its options relative to that: the kernel resolves an overlay's paths from
 * the working folder. */
static int mount_from(const struct mount_place *place, const char *folder,
		      const struct mount_spec *spec, const char *target, unsigned long flags,
		      const char *data, struct error *err)
{
	_cleanup_close_ int cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (cwd < 0 || chdir(folder) < 0)
		return error_set_errno(err, errno, "cannot change to %s", folder);
	/* It makes files of its own, as whoever mounts it. */
	int r = idmap_enter(place->idmap, err);
	if (r == 0 && mount(spec->source, target, spec->type, flags, data) < 0)
		r = error_set_errno(err, errno, "cannot mount %s (%s)", spec->type, data);
	idmap_leave(place->idmap);
	if (fchdir(cwd) < 0)
		return error_set_errno(err, errno, "cannot change back from %s", folder);
	return r;
}

static int mount_overlay(const struct mount_place *place, const struct mount_spec *spec,
			 const char *target, unsigned long flags, const char *data,
			 struct error *err)
{
	_cleanup_free_ char *folder = common_folder(data);
	_cleanup_free_ char *shorter = folder ? shorten(data, folder) : NULL;

	if (!shorter || strlen(shorter) > DATA_MAX)
		return error_set(err, E2BIG,
				 "the layers of the %s mount have no folder in common, or their "
				 "options are longer than a page",
				 spec->type);
	int r = mount_layers(place, folder, err);
	if (r < 0)
		return r;
	r = mount_from(place, place->idmap->userns >= 0 ? place->scratch : folder, spec, target,
		       flags, shorter, err);
	unmount_layers(place);
	return r;
}

/* Any other file system is mounted aside, and from there for the machine. */
static int mount_plain(const struct mount_place *place, const struct mount_spec *spec,
		       const char *target, unsigned long flags, const char *data, struct error *err)
{
	bool mapped = place->idmap->userns >= 0;

	if (strlen(data) > DATA_MAX)
		return error_set(err, E2BIG, "the options of the %s mount are longer than a page",
				 spec->type);
	if (mount(spec->source, mapped ? place->scratch : target, spec->type, flags, data) < 0)
		return error_set_errno(err, errno, "cannot mount %s (%s)", spec->type, data);
	if (!mapped)
		return 0;
	int r = mount_bind_at(place, place->scratch, 0, err);
	umount2(place->scratch, MNT_DETACH | UMOUNT_NOFOLLOW);
	return r;
}

static int mount_new(const struct mount_place *place, const struct mount_spec *spec,
		     unsigned long flags, const char *data, struct error *err)
{
	struct mount_attr private = { .propagation = MS_PRIVATE };
	_cleanup_close_ int fd = -EBADF;
	char path[32];

	int r = open_target(place, &fd, err);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	/* From the start: the machine has a copy of the mount as soon as it is made. */
	flags |= MS_NODEV | MS_NOSUID | MS_NOEXEC;
	r = str_equal(spec->type, "overlay") ? mount_overlay(place, spec, path, flags, data, err)
					     : mount_plain(place, spec, path, flags, data, err);
	if (r < 0)
		return r;
	if (mount_setattr(place->dir_fd, place->name, AT_SYMLINK_NOFOLLOW, &private,
			  sizeof(private)) < 0) {
		r = error_set_errno(err, errno, "cannot make the mount private");
		mount_remove_at(place->dir_fd, place->name);
	}
	return r;
}

int mount_at(const struct mount_place *place, const struct mount_spec *spec, struct error *err)
{
	_cleanup_(strbuf_done) struct strbuf data = {};
	unsigned long flags = 0;

	int r = parse_options(spec, &flags, &data, err);
	if (r < 0)
		return r;
	if (flags & MS_BIND || str_equal(spec->type, "bind"))
		return mount_bind_at(place, spec->source,
				     (flags & MS_REC ? BIND_TREE : 0u) |
					     (flags & MS_RDONLY ? BIND_READONLY_TREE : 0u),
				     err);
	return mount_new(place, spec, flags, strbuf_text(&data), err);
}

/* ---------------------------------------------------------------- without a writable side */

bool mount_folder_is_empty(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	bool empty = true;

	while (dir && empty && (entry = readdir(dir)))
		empty = str_equal(entry->d_name, ".") || str_equal(entry->d_name, "..");
	if (dir)
		closedir(dir);
	return empty;
}

/* The folders of "lowerdir=A:B", appended to layers. */
static void split_layers(const char *value, struct strv *layers)
{
	_cleanup_free_ char *copy = xstrdup(value);
	char *rest = copy;

	for (const char *path; (path = strsep(&rest, ":"));)
		if (*path)
			strv_add(layers, path);
}

void mount_layers_of(const struct mount_spec *spec, struct strv *layers, bool *ret_has_upper)
{
	const char *value;

	*ret_has_upper = false;
	for (size_t i = 0; i < spec->noptions; i++) {
		value = str_after(spec->options[i], "upperdir=");
		if (value && !mount_folder_is_empty(value)) {
			strv_add(layers, value);
			*ret_has_upper = true;
		}
	}
	for (size_t i = 0; i < spec->noptions; i++) {
		value = str_after(spec->options[i], "lowerdir=");
		if (value)
			split_layers(value, layers);
	}
}

int mount_layers_at(const struct mount_place *place, const struct strv *layers, struct error *err)
{
	if (layers->count == 0)
		return error_set(err, EINVAL, "the overlay has no lowerdir");
	if (layers->count == 1)
		return mount_bind_at(place, layers->items[0], BIND_READONLY_TREE, err);
	_cleanup_free_ char *joined = strv_join(layers, ":");
	_cleanup_free_ char *data = xasprintf("lowerdir=%s", joined);
	const struct mount_spec overlay = { (char *)"overlay", (char *)"overlay", NULL, 0 };
	return mount_new(place, &overlay, MS_RDONLY, data, err);
}

int mount_readonly_at(const struct mount_place *place, struct error *err)
{
	struct mount_attr readonly = { .attr_set = MOUNT_ATTR_RDONLY };

	if (mount_setattr(place->dir_fd, place->name, AT_SYMLINK_NOFOLLOW | AT_RECURSIVE, &readonly,
			  sizeof(readonly)) < 0)
		return error_set_errno(err, errno, "cannot make %s read-only", place->name);
	return 0;
}

void mount_remove_at(int dir_fd, const char *name)
{
	_cleanup_free_ char *path = xasprintf("/proc/self/fd/%d/%s", dir_fd, name);

	for (int i = 0; i < STACK_MAX; i++)
		if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
			return;
}
