#include "shim/mount.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"

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

/* Path of the folder or file itself, free of links: it is reached by descriptor. */
static int open_target(int dir_fd, const char *name, int *ret_fd, char ret_path[static 32],
		       struct error *err)
{
	int fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return error_set_errno(err, errno, "cannot open mount point %s", name);
	snprintf(ret_path, 32, "/proc/self/fd/%d", fd);
	*ret_fd = fd;
	return 0;
}

static int set_attributes(int dir_fd, const char *name, bool recursive, bool readonly,
			  struct error *err)
{
	struct mount_attr attr = {
		.attr_set = readonly ? MOUNT_ATTR_RDONLY : 0,
		.propagation = MS_PRIVATE,
	};
	unsigned flags = AT_SYMLINK_NOFOLLOW | (recursive ? AT_RECURSIVE : 0u);

	if (mount_setattr(dir_fd, name, flags, &attr, sizeof(attr)) < 0)
		return error_set_errno(err, errno, "cannot make the mount private%s",
				       readonly ? " and read-only" : "");
	return 0;
}

int mount_bind_at(int dir_fd, const char *name, const char *source, bool recursive, bool readonly,
		  struct error *err)
{
	_cleanup_close_ int fd = -EBADF;
	char path[32];
	int r;

	r = open_target(dir_fd, name, &fd, path, err);
	if (r < 0)
		return r;
	if (mount(source, path, NULL, MS_BIND | (recursive ? MS_REC : 0), NULL) < 0)
		return error_set_errno(err, errno, "cannot bind %s", source);
	r = set_attributes(dir_fd, name, recursive, readonly, err);
	if (r < 0)
		mount_remove_at(dir_fd, name);
	return r;
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

/* The kernel resolves overlay's paths from the working folder: change there and back. */
static int mount_long(const struct mount_spec *spec, const char *target, unsigned long flags,
		      const char *data, struct error *err)
{
	_cleanup_free_ char *folder = common_folder(data);
	_cleanup_free_ char *shorter = folder ? shorten(data, folder) : NULL;
	_cleanup_close_ int cwd = -EBADF;
	int r = 0;

	if (!shorter || strlen(shorter) > DATA_MAX)
		return error_set(err, E2BIG, "the options of the %s mount are longer than a page",
				 spec->type);
	cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (cwd < 0 || chdir(folder) < 0)
		return error_set_errno(err, errno, "cannot change to %s", folder);
	if (mount(spec->source, target, spec->type, flags, shorter) < 0)
		r = error_set_errno(err, errno, "cannot mount %s", spec->type);
	if (fchdir(cwd) < 0)
		return error_set_errno(err, errno, "cannot change back from %s", folder);
	return r;
}

static int mount_new(int dir_fd, const char *name, const struct mount_spec *spec,
		     unsigned long flags, const char *data, struct error *err)
{
	_cleanup_close_ int fd = -EBADF;
	char path[32];
	int r;

	r = open_target(dir_fd, name, &fd, path, err);
	if (r < 0)
		return r;
	if (strlen(data) > DATA_MAX)
		r = mount_long(spec, path, flags, data, err);
	else if (mount(spec->source, path, spec->type, flags, data) < 0)
		r = error_set_errno(err, errno, "cannot mount %s (%s)", spec->type, data);
	if (r < 0)
		return r;
	return set_attributes(dir_fd, name, false, false, err);
}

int mount_at(int dir_fd, const char *name, const struct mount_spec *spec, struct error *err)
{
	_cleanup_(strbuf_done) struct strbuf data = {};
	unsigned long flags = 0;
	int r;

	r = parse_options(spec, &flags, &data, err);
	if (r < 0)
		return r;
	if (flags & MS_BIND || str_equal(spec->type, "bind"))
		return mount_bind_at(dir_fd, name, spec->source, flags & MS_REC, flags & MS_RDONLY,
				     err);
	return mount_new(dir_fd, name, spec, flags, strbuf_text(&data), err);
}

void mount_remove_at(int dir_fd, const char *name)
{
	_cleanup_free_ char *path = xasprintf("/proc/self/fd/%d/%s", dir_fd, name);

	for (int i = 0; i < STACK_MAX; i++)
		if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
			return;
}
