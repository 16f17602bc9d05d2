#include "shim/volume_kind.h"

#include <libgen.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

#define EMPTY_DIR       "kubernetes.io~empty-dir"
#define SUBPATHS        "/volume-subpaths/"
#define NERDCTL_REMOVED "nerdctl/auto-remove" /* an annotation: "true" for `run --rm` */
#define HEX_DIGITS      64

#ifndef MQUEUE_MAGIC
#define MQUEUE_MAGIC 0x19800202
#endif

bool mount_has_option(const Grpc__Mount *mount, const char *name)
{
	for (size_t i = 0; i < mount->n_options; i++)
		if (str_equal(mount->options[i], name))
			return true;
	return false;
}

static bool is_below(const char *path, const char *folder)
{
	const char *rest = str_after(path, folder);

	return rest && (*rest == '\0' || *rest == '/');
}

/* ---------------------------------------------------------------- the guest's own */

static bool is_kernels(const struct statfs *fs)
{
	return fs->f_type == PROC_SUPER_MAGIC || fs->f_type == SYSFS_MAGIC ||
	       fs->f_type == DEVPTS_SUPER_MAGIC || fs->f_type == MQUEUE_MAGIC;
}

/* A source below /dev: device nodes and the folders that hold them are the guest's, a file or
 * another file system's folder (as /dev/shm/NAME) is something of the host's. */
static bool is_devices(const char *path)
{
	struct stat st, dev;
	struct statfs fs;

	if (stat(path, &st) < 0 || statfs(path, &fs) < 0 || stat("/dev", &dev) < 0)
		return true;
	if (S_ISREG(st.st_mode))
		return is_kernels(&fs);
	return !S_ISDIR(st.st_mode) || st.st_dev == dev.st_dev || is_kernels(&fs);
}

static bool is_guests(const char *path)
{
	return is_below(path, "/proc") || is_below(path, "/sys") ||
	       (is_below(path, "/dev") && is_devices(path));
}

/* Such is an emptyDir of the medium HugePages. An ordinary folder in its place went unnoticed. */
static int refuse_huge_pages(const char *path, struct error *err)
{
	struct statfs fs;

	if (statfs(path, &fs) < 0 || fs.f_type != HUGETLBFS_MAGIC)
		return 0;
	return error_set(err, EOPNOTSUPP,
			 "volume %s: it is a hugetlbfs, of the host's huge pages, and the guest "
			 "has no huge pages of its own to give",
			 path);
}

/* ---------------------------------------------------------------- the pod's own */

/* The root of a tmpfs. */
static bool is_tmpfs(const char *path)
{
	_cleanup_free_ char *parent = path_join(path, "..");
	struct stat st, up;
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == TMPFS_MAGIC && stat(path, &st) == 0 &&
	       S_ISDIR(st.st_mode) && stat(parent, &up) == 0 && st.st_dev != up.st_dev;
}

static bool is_folder(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The last component but index (0: the last one) is name. */
static bool component_is(const char *path, size_t index, const char *name)
{
	_cleanup_free_ char *copy = xstrdup(path);
	char *at = copy;

	for (size_t i = 0; i < index; i++)
		at = dirname(at);
	return str_equal(basename(at), name);
}

static bool is_empty_dir(const char *path)
{
	return component_is(path, 1, EMPTY_DIR) && component_is(path, 2, "volumes");
}

static bool is_anonymous(const Grpc__Spec *oci, const char *path)
{
	_cleanup_free_ char *copy = xstrdup(path);
	bool removed = false;

	for (size_t i = 0; i < oci->n_annotations; i++)
		if (str_equal(oci->annotations[i]->key, NERDCTL_REMOVED))
			removed = str_equal(oci->annotations[i]->value, "true");
	if (!removed || !component_is(path, 0, "_data") || !component_is(path, 3, "volumes"))
		return false;
	const char *id = basename(dirname(copy));
	return strlen(id) == HEX_DIGITS && strspn(id, "0123456789abcdef") == HEX_DIGITS &&
	       dir_is_empty(path);
}

/* The emptyDir that POD/volume-subpaths/NAME/… is a folder of; NULL: it is of another volume. The
 * caller frees. */
static char *subpath_home(const char *path)
{
	const char *at = strstr(path, SUBPATHS);
	const char *name = at ? at + strlen(SUBPATHS) : NULL;

	if (!name)
		return NULL;
	_cleanup_free_ char *home = xasprintf("%.*s/volumes/" EMPTY_DIR "/%.*s", (int)(at - path),
					      path, (int)strcspn(name, "/"), name);
	return is_folder(home) ? steal_ptr(home) : NULL;
}

/* The kubelet binds the folder there, so only the mounts tell which one it is. */
static int find_sub(const char *path, const char *home, const struct mountinfo *info,
		    char **ret_sub, struct error *err)
{
	_cleanup_free_ char *real = realpath(path, NULL), *real_home = realpath(home, NULL);
	_cleanup_free_ char *place = real ? mountinfo_place(info, real) : NULL;
	_cleanup_free_ char *base = real_home ? mountinfo_place(info, real_home) : NULL;
	const char *rest = place && base ? str_after(place, base) : NULL;

	if (!rest || *rest != '/' || !is_folder(path))
		return error_set(err, EINVAL,
				 "volume %s: it is no folder of the emptyDir %s, which is in the "
				 "guest",
				 path, home);
	*ret_sub = xstrdup(rest + 1);
	return 0;
}

static enum volume_kind set_home(const char *path, char *sub, struct volume_home *ret)
{
	ret->path = xstrdup(path);
	ret->sub = sub;
	return is_tmpfs(path) ? VOLUME_MEMORY : VOLUME_FOLDER;
}

int volume_classify(const Grpc__Spec *oci, const Grpc__Mount *mount, const struct mountinfo *info,
		    enum volume_kind *ret_kind, struct volume_home *ret_home, struct error *err)
{
	bool bind = str_equal(mount->type, "bind") || mount_has_option(mount, "bind") ||
		    mount_has_option(mount, "rbind");
	const char *path = mount->source;
	char *sub = NULL;

	*ret_kind = VOLUME_NONE;
	if (!bind || path[0] != '/')
		return 0;
	int r = refuse_huge_pages(path, err);
	if (r < 0)
		return r;
	if ((str_equal(mount->destination, "/dev/shm") && is_tmpfs(path)) ||
	    (is_folder(path) && (is_empty_dir(path) || is_anonymous(oci, path)))) {
		*ret_kind = set_home(path, xstrdup(""), ret_home);
		return 0;
	}
	_cleanup_free_ char *home = subpath_home(path);
	if (home) {
		r = find_sub(path, home, info, &sub, err);
		if (r == 0)
			*ret_kind = set_home(home, sub, ret_home);
		return r;
	}
	if (!is_guests(path))
		*ret_kind = VOLUME_HOST;
	return 0;
}

bool volume_is_shm(const Grpc__Mount *mount)
{
	return str_equal(mount->type, "tmpfs") && str_equal(mount->destination, "/dev/shm");
}

void volume_home_done(struct volume_home *home)
{
	free(home->path);
	free(home->sub);
	*home = (struct volume_home){};
}
