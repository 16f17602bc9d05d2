#include "agent/storage.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "agent/disk.h"
#include "agent/layers.h"
#include "agent/mounts.h"
#include "agent/scratch.h"
#include "agent/virtio_fs.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "base/strv.h"
#include "base/trace.h"

enum { STORAGES_MAX = 1024, LOCAL_MODE = 0755, GROUP_MODE = 02770 };

#define PMEM_DEVICE   "/dev/pmem"
#define PMEM_MAX      255
#define KEEP          "kiln.keep"
#define OVERLAY_RW    "io.katacontainers.fs-opt.overlay-rw"
#define OVERLAY_UPPER "kiln.overlay-upper="
#define LAYERS_DAX    "kiln.dax"

enum { OVERLAY_DATA_MAX = 4096 }; /* a page, as mount(2) takes */

struct storage {
	TAILQ_ENTRY(storage) link;
	char *mount_point; /* owned */
	char *driver;      /* owned */
	char *content;     /* owned; what is there: content_of() */
	char *scratch;     /* owned; its folder on the scratch disk, or NULL */
	bool is_mount;     /* else a folder of ours */
	void (*on_drop)(const char *mount_point); /* the driver's */
	bool is_kept;
	unsigned users;
};

/* A request on its way through a driver. */
struct addition {
	struct scratch *scratch;
	const Grpc__Storage *request;
	char *folder; /* owned: of scratch_make(), where the driver has made one */
};

static int add_9p(struct addition *addition, struct error *err);
static int add_virtio_fs(struct addition *addition, struct error *err);
static int add_tmpfs(struct addition *addition, struct error *err);
static int add_local(struct addition *addition, struct error *err);
static int add_bind(struct addition *addition, struct error *err);
static int add_nvdimm(struct addition *addition, struct error *err);
static int add_blk(struct addition *addition, struct error *err);
static int add_overlay(struct addition *addition, struct error *err);
static int add_layers(struct addition *addition, struct error *err);

static const struct driver {
	int (*add)(struct addition *addition, struct error *err);
	bool is_mount;
	bool is_fresh;                            /* its content is ours to give to a group */
	void (*on_drop)(const char *mount_point); /* one user less, and others stay; may be NULL */
} drivers[] = {
	{ add_9p, true, false, NULL },      { add_virtio_fs, true, false, virtio_fs_forget },
	{ add_tmpfs, true, true, NULL },    { add_tmpfs, true, true, NULL },
	{ add_local, false, true, NULL },   { add_bind, true, false, NULL },
	{ add_nvdimm, true, false, NULL },  { add_blk, true, false, NULL },
	{ add_overlay, true, false, NULL }, { add_layers, true, false, NULL },
};

const char *const storage_drivers[] = { "9p",   "virtio-fs", "ephemeral", "tmpfs",     "local",
					"bind", "nvdimm",    "blk",       "overlayfs", "layers" };
const size_t storage_drivers_count = ARRAY_SIZE(storage_drivers);
_Static_assert(ARRAY_SIZE(drivers) == ARRAY_SIZE(storage_drivers), "one name a driver");

/* ---------------------------------------------------------------- drivers */

static bool has_driver_option(const Grpc__Storage *request, const char *option)
{
	for (size_t i = 0; i < request->n_driver_options; i++)
		if (str_equal(request->driver_options[i], option))
			return true;
	return false;
}

/* Its mount point and options. */
static int prepare_mount(const Grpc__Storage *request, struct mount_options *options,
			 struct error *err)
{
	int r = dir_make(request->mount_point, 0755, err);

	return r < 0 ? r : mount_options_parse(request->options, request->n_options, options, err);
}

static int add_mount_of(const Grpc__Storage *request, const char *type, const char *source,
			bool bind, struct error *err)
{
	_cleanup_(mount_options_done) struct mount_options options = {};
	int r = prepare_mount(request, &options, err);

	if (r < 0)
		return r;
	options.bind |= bind;
	/* Devices are in a container's /dev: a node that the host or another container has put into
	 * a volume is none. */
	options.attr_set |= MOUNT_ATTR_NODEV;
	options.attr_clear &= ~(uint64_t)MOUNT_ATTR_NODEV;
	/* Of a device that cannot be written to, else none is mounted. */
	options.fs_readonly = !bind && options.attr_set & MOUNT_ATTR_RDONLY;
	return mount_at(type, source, &options, request->mount_point, err);
}

static int add_mount(const Grpc__Storage *request, const char *type, bool bind, struct error *err)
{
	return add_mount_of(request, type, request->source, bind, err);
}

static int add_9p(struct addition *addition, struct error *err)
{
	return add_mount(addition->request, "9p", false, err);
}

static int mount_virtio_fs(const void *request, struct error *err)
{
	return add_mount(request, "virtiofs", false, err);
}

static int add_virtio_fs(struct addition *addition, struct error *err)
{
	return virtio_fs_mount(mount_virtio_fs, addition->request, err);
}

static int add_tmpfs(struct addition *addition, struct error *err)
{
	return add_mount(addition->request, "tmpfs", false, err);
}

static int add_bind(struct addition *addition, struct error *err)
{
	return add_mount(addition->request, "", true, err);
}

static int add_nvdimm(struct addition *addition, struct error *err)
{
	const Grpc__Storage *request = addition->request;
	const char *number = str_after(request->source, PMEM_DEVICE);
	uint64_t index;

	if (!number || str_to_u64(number, 0, PMEM_MAX, &index) < 0)
		return error_set(err, EINVAL, "source \"%s\" is not " PMEM_DEVICE "N",
				 request->source);
	if (str_empty(request->fstype))
		return error_set(err, EINVAL, "%s has no file system type", request->source);
	return add_mount(request, request->fstype, false, err);
}

struct folder_options {
	uint64_t mode, uid, gid;
};

static bool parse_number(const char *option, const char *key, int base, uint64_t max, uint64_t *ret)
{
	const char *value = str_after(option, key);
	char *end;
	unsigned long long number = value ? strtoull(value, &end, base) : 0;

	if (!value || end == value || *end || *value == '-' || number > max)
		return false;
	*ret = number;
	return true;
}

static int parse_folder(const Grpc__Storage *request, struct folder_options *ret, struct error *err)
{
	*ret = (struct folder_options){ .mode = LOCAL_MODE };
	for (size_t i = 0; i < request->n_options; i++) {
		const char *option = request->options[i];
		if (!parse_number(option, "mode=", 8, 07777, &ret->mode) &&
		    !parse_number(option, "uid=", 10, UINT32_MAX - 1, &ret->uid) &&
		    !parse_number(option, "gid=", 10, UINT32_MAX - 1, &ret->gid))
			return error_set(err, EINVAL, "option \"%.128s\" is not supported", option);
	}
	return 0;
}

/* A missing one is made; a link is no folder. */
static int enter_folder(int dir, const char *name)
{
	const int flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(dir, name, flags);

	if (fd < 0 && errno == ENOENT && (mkdirat(dir, name, LOCAL_MODE) == 0 || errno == EEXIST))
		fd = openat(dir, name, flags);
	return fd < 0 ? -errno : fd;
}

/* The folder that holds the last component of path, which is *ret_name then. A part of the way may
 * be a container's to write to, who could have put a link there. */
static int enter_parent(char *path, int *ret_dir, const char **ret_name)
{
	_cleanup_close_ int dir = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char *rest = NULL, *name = strtok_r(path, "/", &rest);

	for (char *next; dir >= 0 && (next = strtok_r(NULL, "/", &rest)); name = next) {
		int below = enter_folder(dir, name);

		close_fd(dir);
		dir = below;
	}
	if (dir < 0 || !name)
		return dir < 0 ? dir : -EINVAL;
	*ret_dir = steal_fd(&dir);
	*ret_name = name;
	return 0;
}

/* The mode apart from the creation, which the file mode mask would narrow. */
static int give_folder(int dir, const char *name, const struct folder_options *options)
{
	_cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 || fchown(fd, (uid_t)options->uid, (gid_t)options->gid) < 0 ||
	    fchmod(fd, (mode_t)options->mode) < 0)
		return -errno;
	return 0;
}

static int make_folder(int dir, const char *name, const struct folder_options *options)
{
	struct stat st;

	if (mkdirat(dir, name, 0700) == 0) {
		int r = give_folder(dir, name, options);

		if (r < 0)
			(void)!unlinkat(dir, name, AT_REMOVEDIR);
		return r;
	}
	if (errno != EEXIST || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return S_ISLNK(st.st_mode) ? -ELOOP : 0;
}

/* What containers have made there, a folder or something else, stays as they made it. */
static int add_local(struct addition *addition, struct error *err)
{
	_cleanup_free_ char *path = xstrdup(addition->request->mount_point);
	_cleanup_close_ int dir = -EBADF;
	struct folder_options options;
	const char *name;
	int r = parse_folder(addition->request, &options, err);

	if (r < 0)
		return r;
	r = enter_parent(path, &dir, &name);
	if (r == 0)
		r = make_folder(dir, name, &options);
	return r < 0 ? error_set_errno(err, r, "cannot make the folder %s",
				       addition->request->mount_point)
		     : 0;
}

static int add_blk(struct addition *addition, struct error *err)
{
	const Grpc__Storage *request = addition->request;
	_cleanup_free_ char *device = NULL;
	int r;

	if (str_empty(request->fstype))
		return error_set(err, EINVAL, "%s has no file system type", request->source);
	r = disk_await(request->source, &device, err);
	if (r == 0)
		r = disk_forget(device, err);
	return r < 0 ? r : add_mount_of(request, request->fstype, device, false, err);
}

static int add_layers(struct addition *addition, struct error *err)
{
	const Grpc__Storage *request = addition->request;
	_cleanup_free_ char *device = NULL;
	int r = disk_await(request->source, &device, err);

	return r < 0 ? r
		     : layers_mount(device, has_driver_option(request, LAYERS_DAX),
				    request->options, request->n_options, request->mount_point,
				    err);
}

/* ---------------------------------------------------------------- overlays */

/* The topmost lower folder; the caller frees. NULL: the request names none. */
static char *top_lower(const Grpc__Storage *request)
{
	for (size_t i = 0; i < request->n_options; i++) {
		const char *value = str_after(request->options[i], "lowerdir=")
					    ?: str_after(request->options[i], "lowerdir+=");
		if (value)
			return xstrndup(value, strcspn(value, ":"));
	}
	return NULL;
}

static const char *driver_option_value(const Grpc__Storage *request, const char *key)
{
	for (size_t i = 0; i < request->n_driver_options; i++) {
		const char *value = str_after(request->driver_options[i], key);
		if (value)
			return value;
	}
	return NULL;
}

/* The root of an overlay is its upper folder's: owner and mode come from the lower one, when it is
 * made. */
static int make_upper(const char *path, const char *lower, struct error *err)
{
	struct stat st;

	if (lstat(path, &st) == 0)
		return S_ISDIR(st.st_mode) ? 0 : error_set(err, ENOTDIR, "%s is no folder", path);
	if (stat(lower, &st) < 0)
		return error_set_errno(err, errno, "lower folder %s", lower);
	if (mkdir(path, 0755) < 0 || chown(path, st.st_uid, st.st_gid) < 0 ||
	    chmod(path, st.st_mode & 07777) < 0)
		return error_set_errno(err, errno, "cannot make the folder %s", path);
	return 0;
}

/* The lower folders, however many options they are in, as one. */
static char *overlay_data(const struct mount_options *options)
{
	_cleanup_(strbuf_done) struct strbuf lowers = {}, data = {};

	for (size_t i = 0; i < options->ndata; i++) {
		const char *lower = str_after(options->data[i], "lowerdir=")
					    ?: str_after(options->data[i], "lowerdir+=");
		if (lower)
			strbuf_addf(&lowers, "%s%s", lowers.len > 0 ? ":" : "", lower);
		else
			strbuf_addf(&data, ",%s", options->data[i]);
	}
	return xasprintf("lowerdir=%s%s", strbuf_text(&lowers), strbuf_text(&data));
}

/* By mount(2): fsconfig(2) takes values of 255 bytes, and one lower folder at a time only since
 * Linux 6.8. The flags of both have the same values. */
static int mount_overlay(const Grpc__Storage *request, struct error *err)
{
	const uint64_t flags = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
			       MOUNT_ATTR_NOEXEC;
	_cleanup_(mount_options_done) struct mount_options options = {};
	int r = prepare_mount(request, &options, err);

	if (r < 0)
		return r;
	if (options.attr_set & ~flags)
		return error_set(err, EINVAL, "an overlay takes ro, nosuid, nodev and noexec only");
	_cleanup_free_ char *data = overlay_data(&options);
	if (strlen(data) >= OVERLAY_DATA_MAX)
		return error_set(err, E2BIG, "its lower folders are %zu bytes, and %d can be given",
				 strlen(data), OVERLAY_DATA_MAX);
	if (mount("overlay", request->mount_point, "overlay", options.attr_set, data) < 0)
		return error_set_errno(err, errno, "cannot mount an overlay");
	return 0;
}

/* Files have one device number and numbers that last, as on a file system (xino). What is synced is
 * really written ("volatile" would be quicker): so the error of a disk that is full on the host is
 * told to who asks. */
static int mount_writable(const Grpc__Storage *request, const char *folder, struct error *err)
{
	_cleanup_free_ char *upper = path_join(folder, "upper");
	_cleanup_free_ char *work = path_join(folder, "work");
	_cleanup_free_ char *lower = top_lower(request);
	_cleanup_(strv_done) struct strv options = {};
	int r;

	if (!lower)
		return error_set(err, EINVAL,
				 "an overlay needs the option lowerdir= or lowerdir+=");
	r = make_upper(upper, lower, err);
	if (r == 0)
		r = dir_make(work, 0700, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < request->n_options; i++)
		strv_add(&options, request->options[i]);
	strv_addf(&options, "upperdir=%s", upper);
	strv_addf(&options, "workdir=%s", work);
	strv_add(&options, "xino=on");

	Grpc__Storage whole = *request;

	whole.options = options.items;
	whole.n_options = options.count;
	return mount_overlay(&whole, err);
}

static int add_overlay(struct addition *addition, struct error *err)
{
	const char *upper = driver_option_value(addition->request, OVERLAY_UPPER);
	int r;

	if (upper)
		return mount_writable(addition->request, upper, err);
	if (!has_driver_option(addition->request, OVERLAY_RW))
		return mount_overlay(addition->request, err);
	r = scratch_make(addition->scratch, &addition->folder, err);
	return r < 0 ? r : mount_writable(addition->request, addition->folder, err);
}

/* ---------------------------------------------------------------- add */

static const struct driver *driver_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
		if (str_equal(name, storage_drivers[i]))
			return &drivers[i];
	return NULL;
}

/* Drivers that Kata's agent has. */
static int refuse_driver(const char *name, struct error *err)
{
	static const struct {
		const char *name, *why;
	} refused[] = {
		{ "mmioblk", "this machine's disks are on the PCI bus, as blk has them" },
		{ "blk-ccw", "this machine's disks are on the PCI bus, as blk has them" },
		{ "scsi", "this machine has no SCSI controller; its disks are blk" },
		{ "watchable-bind", "files of the host are not watched here; bind shows them" },
		{ "image_guest_pull", "a guest pulls no images; the host has their layers" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		if (str_equal(name, refused[i].name))
			return error_set(err, EOPNOTSUPP, "storage driver %s is not supported: %s",
					 name, refused[i].why);
	return error_set(err, EOPNOTSUPP, "storage driver \"%.64s\" is unknown", name);
}

static int check_mount_point(const char *path, struct error *err)
{
	if (*path != '/' || strstr(path, "/../") || strlen(path) < 2)
		return error_set(err, EINVAL, "storage mount point \"%.128s\" is not usable", path);
	return 0;
}

static int set_group(const struct driver *driver, const Grpc__Storage *request, struct error *err)
{
	if (!request->fs_group)
		return 0;
	if (!driver->is_fresh)
		return error_set(err, EOPNOTSUPP, "storage driver %s cannot change the group",
				 request->driver);
	if (chown(request->mount_point, (uid_t)-1, request->fs_group->group_id) < 0 ||
	    chmod(request->mount_point, GROUP_MODE | LOCAL_MODE) < 0)
		return error_set_errno(err, errno, "cannot set the group of %s",
				       request->mount_point);
	return 0;
}

static bool is_tmpfs(const char *driver)
{
	return str_equal(driver, "ephemeral") || str_equal(driver, "tmpfs");
}

static struct storage *storage_find(struct storage_list *list, const char *mount_point)
{
	struct storage *storage;

	TAILQ_FOREACH (storage, &list->items, link)
		if (str_equal(storage->mount_point, mount_point))
			return storage;
	return NULL;
}

void storage_list_init(struct storage_list *list, struct scratch *scratch)
{
	TAILQ_INIT(&list->items);
	list->scratch = scratch;
}

static void storage_release(struct storage_list *list, struct storage *storage)
{
	_cleanup_(error_done) struct error err = {};

	if (!storage->is_mount) {
		if (path_remove(storage->mount_point, &err) < 0)
			log_warning(NULL, "storage is left: %s", error_message(&err));
	} else if (umount2(storage->mount_point, UMOUNT_NOFOLLOW) < 0 &&
		   umount2(storage->mount_point, UMOUNT_NOFOLLOW | MNT_DETACH) < 0) {
		log_warning(NULL, "cannot unmount storage %s: %s", storage->mount_point,
			    strerror(errno));
	}
	if (storage->scratch)
		scratch_remove(list->scratch, storage->scratch);
	TAILQ_REMOVE(&list->items, storage, link);
	free(storage->mount_point);
	free(storage->driver);
	free(storage->content);
	free(storage);
}

/* Mode and owner are given once, when it is made; then they are its users' to change. */
static bool is_of_the_making(const char *option)
{
	return str_after(option, "mode=") || str_after(option, "uid=") || str_after(option, "gid=");
}

/* Two requests with the same content are for the same file system. */
static char *content_of(const Grpc__Storage *request)
{
	_cleanup_(strbuf_done) struct strbuf text = {};

	strbuf_addf(&text, "%s %s %s", request->driver, request->fstype, request->source);
	for (size_t i = 0; i < request->n_options; i++)
		if (!is_of_the_making(request->options[i]))
			strbuf_addf(&text, " %s", request->options[i]);
	return strbuf_steal(&text);
}

static int add_new(struct storage_list *list, const Grpc__Storage *request, struct error *err)
{
	const struct driver *driver = driver_find(request->driver);
	int r = check_mount_point(request->mount_point, err);

	if (r < 0)
		return r;
	if (!driver)
		return refuse_driver(request->driver, err);
	struct addition addition = { .scratch = list->scratch, .request = request };
	const struct trace_span span = trace_begin();

	r = driver->add(&addition, err);
	trace_end(TRACE_STORAGE, NULL, &span);
	if (r < 0) {
		if (addition.folder)
			scratch_remove(list->scratch, addition.folder);
		return error_wrap(err, "storage %s on %s", request->driver, request->mount_point);
	}

	struct storage *storage = xnew(struct storage);

	storage->mount_point = xstrdup(request->mount_point);
	storage->driver = xstrdup(request->driver);
	storage->content = content_of(request);
	storage->scratch = addition.folder;
	storage->is_mount = driver->is_mount;
	storage->on_drop = driver->on_drop;
	storage->is_kept = has_driver_option(request, KEEP);
	storage->users = 1;
	TAILQ_INSERT_HEAD(&list->items, storage, link); /* newest first */
	r = set_group(driver, request, err);
	if (r < 0)
		storage_drop(list, request->mount_point);
	return r;
}

/* What was kept at the mount point: what is asked for, or in its way. */
static struct storage *take_over(struct storage_list *list, struct storage *storage,
				 const Grpc__Storage *request)
{
	_cleanup_free_ char *content = content_of(request);

	if (!str_equal(storage->content, content)) {
		storage_release(list, storage);
		return NULL;
	}
	storage->is_kept = has_driver_option(request, KEEP);
	return storage;
}

/* A folder of the guest's may be in one that containers write to, and have been removed by them. */
static int make_again(const struct storage *storage, const Grpc__Storage *request,
		      struct error *err)
{
	struct addition addition = { .request = request };

	return storage->is_mount || !str_equal(request->driver, storage->driver)
		       ? 0
		       : add_local(&addition, err);
}

int storage_add(struct storage_list *list, const Grpc__Storage *request, struct error *err)
{
	struct storage *storage = storage_find(list, request->mount_point);
	size_t count = 0;

	if (storage && storage->users == 0)
		storage = take_over(list, storage, request);
	if (storage) {
		int r = make_again(storage, request, err);
		if (r == 0)
			storage->users++;
		return r;
	}
	TAILQ_FOREACH (storage, &list->items, link)
		count++;
	if (count >= STORAGES_MAX)
		return error_set(err, EAGAIN, "%d storages are in use", STORAGES_MAX);
	return add_new(list, request, err);
}

/* "remount" is how Kata's clients say what this call means anyway. */
static int update_tmpfs(const Grpc__Storage *request, struct error *err)
{
	_cleanup_(mount_options_done) struct mount_options options = {};
	_cleanup_(strv_done) struct strv words = {};

	for (size_t i = 0; i < request->n_options; i++)
		if (!str_equal(request->options[i], "remount"))
			strv_add(&words, request->options[i]);
	int r = mount_options_parse(words.items, words.count, &options, err);
	return r < 0 ? r : mount_change(request->mount_point, &options, err);
}

int storage_update(struct storage_list *list, const Grpc__Storage *request, struct error *err)
{
	struct storage *storage = storage_find(list, request->mount_point);

	if (!storage || storage->users == 0)
		return error_set(err, ENOENT, "no storage is mounted on \"%.256s\"",
				 request->mount_point);
	if (!is_tmpfs(request->driver) || !is_tmpfs(storage->driver))
		return error_set(err, EOPNOTSUPP,
				 "storage %s on %s cannot be changed: an ephemeral one can",
				 storage->driver, storage->mount_point);
	int r = update_tmpfs(request, err);
	return r < 0 ? error_wrap(err, "storage on %s", storage->mount_point) : 0;
}

/* ---------------------------------------------------------------- drop */

void storage_drop(struct storage_list *list, const char *mount_point)
{
	struct storage *storage = storage_find(list, mount_point);

	if (!storage)
		return;
	if (--storage->users == 0 && !storage->is_kept)
		storage_release(list, storage);
	else if (storage->on_drop)
		storage->on_drop(storage->mount_point);
}

void storage_drop_all(struct storage_list *list)
{
	struct storage *storage, *next;

	TAILQ_FOREACH_SAFE (storage, &list->items, link, next) {
		storage->users = 0;
		if (!storage->is_kept)
			storage_release(list, storage);
	}
}

void storage_list_done(struct storage_list *list)
{
	struct storage *storage;

	while ((storage = TAILQ_FIRST(&list->items)))
		/* It leaves the list; the analyzer does not follow TAILQ_REMOVE.
		 * NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
		storage_release(list, storage);
}
