#include "shim/container_disks.h"

#include <ctype.h>
#include <linux/major.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/strv.h"
#include "factory/guest/guest_root.h"
#include "proto/direct_volume.h"
#include "proto/guest_disks.h"
#include "proto/message_text.h"
#include "shim/disk_file.h"

#define MOUNTED "/run/kata-containers/disks/%s" /* in the guest; of a disk's serial number */

enum { ITEMS_MAX = 64 };

enum item_kind { ITEM_ROOT, ITEM_UPPER, ITEM_VOLUME, ITEM_DEVICE };

struct item {
	struct container_disks *owner;
	enum item_kind kind;
	char *name;          /* owned; for errors: "volume /data" */
	char *place;         /* owned; the path in the container; "": it has none */
	char *path;          /* owned; the host's */
	char *volume_path;   /* owned; of a direct volume, else NULL */
	char *fstype;        /* owned; NULL of a device */
	struct strv options; /* of the file system */
	bool writable;       /* the disk */
	bool shown_readonly; /* of a volume: what is mounted of it in the container */
	struct disk *disk;   /* NULL: not attached (yet) */
};

struct container_disks {
	struct disks *disks; /* borrowed until all are attached */
	char *container_id;
	char *run_dir, *sandbox_id, *shim_address;
	struct item items[ITEMS_MAX];
	size_t count;
	Grpc__Device **devices; /* owned, with what is in them */
	size_t ndevices;
	size_t under_way;               /* attachments, or releases, that are not answered */
	struct error error;             /* the first attachment that failed */
	container_disks_fn on_attached; /* NULL: told */
	void *attached_userdata;
	bool released;
	void (*on_released)(void *userdata);
	void *released_userdata;
};

/* ---------------------------------------------------------------- what mounts say */

static bool has_option(char *const *options, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (str_equal(options[i], name))
			return true;
	return false;
}

/* File systems whose source is no device, whatever it looks like. */
static bool needs_no_device(const char *type)
{
	static const char *const types[] = { "",       "none",   "bind",    "overlay",
					     "tmpfs",  "proc",   "sysfs",   "devpts",
					     "mqueue", "cgroup", "cgroup2", "devtmpfs" };

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (str_equal(type, types[i]))
			return true;
	return false;
}

static bool is_disk(const char *type, const char *source, char *const *options, size_t count)
{
	struct stat st;

	if (source[0] != '/' || needs_no_device(type) || has_option(options, count, "bind") ||
	    has_option(options, count, "rbind"))
		return false;
	return has_option(options, count, "loop") || str_after(source, "/dev/") ||
	       (stat(source, &st) == 0 && S_ISBLK(st.st_mode));
}

bool container_disks_have_root(Containerd__Types__Mount *const *mounts, size_t nmounts)
{
	return nmounts == 1 && !str_equal(mounts[0]->type, "erofs") &&
	       is_disk(mounts[0]->type, mounts[0]->source, mounts[0]->options,
		       mounts[0]->n_options);
}

/* Options of a mount, which each container may have others of, and not of the file system. */
static bool is_of_the_mount(const char *option)
{
	static const char *const names[] = {
		"ro",       "rw",         "nosuid",  "suid",     "nodev",       "dev",
		"noexec",   "exec",       "noatime", "relatime", "strictatime", "atime",
		"diratime", "nodiratime", "rro",     "private",  "rprivate",    "slave",
		"rslave",   "shared",     "rshared", "bind",     "rbind",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (str_equal(option, names[i]))
			return true;
	return false;
}

static void add_fs_options(struct item *item, char *const *options, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!is_of_the_mount(options[i]) && !str_equal(options[i], "loop"))
			strv_add(&item->options, options[i]);
}

/* ---------------------------------------------------------------- the list */

static struct item *add_item(struct container_disks *disks, enum item_kind kind, const char *place,
			     const char *path)
{
	static const char *const words[] = {
		[ITEM_ROOT] = "root file system",
		[ITEM_UPPER] = "image to write to",
		[ITEM_VOLUME] = "volume ",
		[ITEM_DEVICE] = "device ",
	};

	if (disks->count == ITEMS_MAX)
		return NULL;
	struct item *item = &disks->items[disks->count++];

	item->owner = disks;
	item->kind = kind;
	item->name = xasprintf("%s%s", words[kind], place);
	item->place = xstrdup(place);
	item->path = xstrdup(path);
	return item;
}

static int refuse_more(const char *place, struct error *err)
{
	return error_set(err, EAGAIN, "%s is one disk too many: a container can have %d", place,
			 ITEMS_MAX);
}

static void add_root(struct container_disks *disks, const Containerd__Types__Mount *mount)
{
	struct item *item = add_item(disks, ITEM_ROOT, "", mount->source);

	item->fstype = xstrdup(mount->type);
	item->writable = !has_option(mount->options, mount->n_options, "ro");
	add_fs_options(item, mount->options, mount->n_options);
}

static void add_upper(struct container_disks *disks, const struct layer_writable *upper)
{
	struct item *item = add_item(disks, ITEM_UPPER, "", upper->path);

	item->fstype = xstrdup(upper->fstype);
	item->writable = true;
}

static bool is_readonly(const Grpc__Mount *mount)
{
	return has_option(mount->options, mount->n_options, "ro") ||
	       has_option(mount->options, mount->n_options, "rro");
}

static int add_disk_mount(struct container_disks *disks, const Grpc__Mount *mount,
			  struct error *err)
{
	struct item *item = add_item(disks, ITEM_VOLUME, mount->destination, mount->source);

	if (!item)
		return refuse_more(mount->destination, err);
	item->fstype = xstrdup(mount->type);
	item->shown_readonly = is_readonly(mount);
	item->writable = !item->shown_readonly;
	add_fs_options(item, mount->options, mount->n_options);
	return 0;
}

/* Leaves only what is of the mount, and not of the file system; not "bind" either. */
static void keep_mount_options(Grpc__Mount *mount)
{
	size_t kept = 0;

	for (size_t i = 0; i < mount->n_options; i++) {
		char *option = mount->options[i];
		if (is_of_the_mount(option) && !str_equal(option, "bind") &&
		    !str_equal(option, "rbind"))
			mount->options[kept++] = option;
		else
			free(option);
	}
	mount->n_options = kept;
}

/* -ENOENT: the source is no direct volume. Else it becomes the mount of a device, which no share is
 * made of. */
static int add_direct_volume(struct container_disks *disks, const char *run_dir, Grpc__Mount *mount,
			     struct error *err)
{
	_cleanup_(direct_volume_done) struct direct_volume volume = {};
	_cleanup_(error_done) struct error why = {};
	int r = direct_volume_load(run_dir, mount->source, &volume, &why);

	if (r == -ENOENT)
		return r;
	if (r < 0) {
		error_move(err, &why);
		return error_wrap(err, "volume %s", mount->destination);
	}
	struct item *item = add_item(disks, ITEM_VOLUME, mount->destination, volume.device);
	if (!item)
		return refuse_more(mount->destination, err);
	item->volume_path = xstrdup(mount->source);
	item->fstype = steal_ptr(volume.fstype);
	item->shown_readonly = is_readonly(mount);
	item->writable = !has_option(volume.options.items, volume.options.count, "ro");
	add_fs_options(item, volume.options.items, volume.options.count);
	message_text_set(&mount->type, xstrdup(item->fstype));
	message_text_set(&mount->source, xstrdup(item->path));
	keep_mount_options(mount);
	return 0;
}

static int add_volumes(struct container_disks *disks, const struct container_disks_options *options,
		       struct error *err)
{
	_cleanup_free_ char *direct = xasprintf("%s/" DIRECT_VOLUMES, options->run_dir);
	bool has_direct = access(direct, F_OK) == 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < options->oci->n_mounts; i++) {
		Grpc__Mount *mount = options->oci->mounts[i];
		if (is_disk(mount->type, mount->source, mount->options, mount->n_options))
			r = add_disk_mount(disks, mount, err);
		else if (has_direct && mount->source[0] == '/')
			r = add_direct_volume(disks, options->run_dir, mount, err);
		if (r == -ENOENT)
			r = 0;
	}
	return r;
}

/* ---------------------------------------------------------------- devices */

enum access { ACCESS_NONE, ACCESS_READ, ACCESS_WRITE };

static bool rule_is_for(const Grpc__LinuxDeviceCgroup *rule, const Grpc__LinuxDevice *device,
			bool *ret_by_name)
{
	bool all = str_empty(rule->type) || str_equal(rule->type, "a");

	*ret_by_name = !all && rule->major > 0;
	if (all || (str_equal(rule->type, "b") && rule->major <= 0))
		return true;
	return str_equal(rule->type, "b") && rule->major == device->major &&
	       (rule->minor < 0 || rule->minor == device->minor);
}

/* What the device cgroup would let the container do: the last rule about it holds. *ret_named: that
 * is not one about all devices. */
static enum access find_access(const Grpc__Linux *linux, const Grpc__LinuxDevice *device,
			       bool *ret_named)
{
	const Grpc__LinuxResources *resources = linux->resources;
	bool may_read = true, may_write = true, by_name;

	*ret_named = false;
	for (size_t i = 0; resources && i < resources->n_devices; i++) {
		const Grpc__LinuxDeviceCgroup *rule = resources->devices[i];
		if (!rule_is_for(rule, device, &by_name))
			continue;
		if (strchr(rule->access, 'r') || str_empty(rule->access))
			may_read = rule->allow;
		if (strchr(rule->access, 'w') || str_empty(rule->access))
			may_write = rule->allow;
		*ret_named = by_name;
	}
	return !may_read ? ACCESS_NONE : may_write ? ACCESS_WRITE : ACCESS_READ;
}

static bool is_the_hosts_node(const Grpc__LinuxDevice *device)
{
	struct stat st;

	return stat(device->path, &st) == 0 && S_ISBLK(st.st_mode) &&
	       st.st_rdev == makedev((unsigned)device->major, (unsigned)device->minor);
}

/* 1: it is to be shown; 0: it is not. */
static int add_device(struct container_disks *disks, const Grpc__Linux *linux,
		      const Grpc__LinuxDevice *device, struct error *err)
{
	_cleanup_free_ char *path = NULL;
	bool named;
	enum access access = find_access(linux, device, &named);

	if (access == ACCESS_NONE)
		return 0;
	if (!named && is_the_hosts_node(device))
		return device->major == LOOP_MAJOR;
	int r = disk_file_of_number((unsigned)device->major, (unsigned)device->minor, &path, err);
	if (r < 0)
		return error_wrap(err, "device %s", device->path);
	struct item *item = add_item(disks, ITEM_DEVICE, device->path, path);
	if (!item)
		return refuse_more(device->path, err);
	item->writable = access == ACCESS_WRITE;
	return 1;
}

static int add_devices(struct container_disks *disks, Grpc__Linux *linux, struct error *err)
{
	size_t kept = 0, count = linux->n_devices;
	int r = 0;

	for (size_t i = 0; i < count; i++) {
		Grpc__LinuxDevice *device = linux->devices[i];
		int shown = 1;
		if (r == 0 && str_equal(device->type, "b"))
			shown = add_device(disks, linux, device, err);
		if (shown < 0)
			r = shown;
		if (shown != 0)
			linux->devices[kept++] = device;
		else
			protobuf_c_message_free_unpacked(&device->base, NULL);
	}
	linux->n_devices = kept;
	if (kept < count)
		log_warning(disks->container_id, "%zu block devices of the host are not shown",
			    count - kept);
	return r;
}

/* ---------------------------------------------------------------- life */

static void free_device(Grpc__Device *device)
{
	free(device->type);
	free(device->vm_path);
	free(device->container_path);
	free(device);
}

static void container_disks_free(struct container_disks *disks)
{
	for (size_t i = 0; i < disks->count; i++) {
		struct item *item = &disks->items[i];
		free(item->name);
		free(item->place);
		free(item->path);
		free(item->volume_path);
		free(item->fstype);
		strv_done(&item->options);
	}
	for (size_t i = 0; i < disks->ndevices; i++)
		free_device(disks->devices[i]);
	free(disks->devices);
	error_done(&disks->error);
	free(disks->container_id);
	free(disks->run_dir);
	free(disks->sandbox_id);
	free(disks->shim_address);
	free(disks);
}
DEFINE_CLEANUP(struct container_disks *, container_disks_free)

int container_disks_new(const struct container_disks_options *options, struct container_disks **ret,
			struct error *err)
{
	_cleanup_(container_disks_free_cleanup) struct container_disks *disks = xnew(
		struct container_disks);
	int r = 0;

	disks->disks = options->disks;
	disks->container_id = xstrdup(options->container_id);
	disks->run_dir = xstrdup(options->run_dir);
	disks->sandbox_id = xstrdup(options->sandbox_id);
	disks->shim_address = xstrdup(options->shim_address);
	if (options->root)
		add_root(disks, options->root[0]);
	if (options->upper && options->upper->path)
		add_upper(disks, options->upper);
	if (options->oci->linux)
		r = add_devices(disks, options->oci->linux, err);
	if (r == 0)
		r = add_volumes(disks, options, err);
	if (r == 0)
		*ret = disks->count > 0 ? steal_ptr(disks) : NULL;
	return r;
}

/* ---------------------------------------------------------------- attach */

static void give_back(struct container_disks *disks);

static void tell_attached(struct container_disks *disks)
{
	container_disks_fn fn = steal_ptr(disks->on_attached);
	bool released = disks->released;
	_cleanup_(error_done) struct error err = {};

	error_move(&err, &disks->error);
	if (released && !err.number)
		(void)error_set(&err, ECANCELED, "creation was cancelled");
	fn(-err.number, &err, disks->attached_userdata); /* it may release them */
	if (released)
		give_back(disks);
}

static void set_error(struct item *item, int number, const char *why)
{
	struct error *error = &item->owner->error;

	if (error->number)
		return;
	/* To containerd "not found" is a task. */
	(void)error_set(error, number == -ENOENT ? EINVAL : -number, "%s", why);
	(void)error_wrap(error, "%s (%s)", item->name, item->path);
}

static void note_attached(struct item *item)
{
	const struct container_disks *disks = item->owner;
	_cleanup_(error_done) struct error err = {};

	log_info(disks->container_id, "%s: %s is disk %s, %s", item->name, item->path,
		 disk_serial(item->disk), disk_is_writable(item->disk) ? "writable" : "read-only");
	if (item->volume_path &&
	    direct_volume_note_user(disks->run_dir, item->volume_path, disks->sandbox_id,
				    disks->shim_address, &err) < 0)
		log_warning(disks->container_id, "%s: kiln-ctl will not find it: %s", item->name,
			    error_message(&err));
}

static void on_attached(int number, struct disk *disk, const struct error *err, void *userdata)
{
	struct item *item = userdata;
	struct container_disks *disks = item->owner;

	item->disk = disk;
	if (number < 0)
		set_error(item, number, error_message(err));
	else if (item->kind == ITEM_DEVICE && !item->writable && disk_is_writable(disk))
		set_error(item, -EBUSY,
			  "it is to be read-only, and another container of the pod, or another "
			  "path of this one, writes to it");
	else if (item->kind == ITEM_UPPER && disk_is_shared(disk))
		set_error(item, -EBUSY, "another container of the pod has it");
	else
		note_attached(item);
	if (--disks->under_way == 0)
		tell_attached(disks);
}

void container_disks_attach(struct container_disks *disks, container_disks_fn fn, void *userdata)
{
	disks->on_attached = fn;
	disks->attached_userdata = userdata;
	disks->under_way = disks->count;
	/* Writers first: who only reads shares the same disk then. */
	for (int writable = 1; writable >= 0; writable--)
		for (size_t i = 0; i < disks->count; i++)
			if (disks->items[i].writable == writable)
				disks_attach(disks->disks, disks->items[i].path, writable,
					     on_attached, &disks->items[i]);
}

/* ---------------------------------------------------------------- release */

static void finish_release(struct container_disks *disks)
{
	void (*fn)(void *userdata) = disks->on_released;
	void *userdata = disks->released_userdata;

	container_disks_free(disks);
	if (fn)
		fn(userdata);
}

static void on_out(void *userdata)
{
	struct container_disks *disks = userdata;

	if (--disks->under_way == 0)
		finish_release(disks);
}

/* One more than there are, so that it ends here where none is attached. */
static void give_back(struct container_disks *disks)
{
	disks->under_way = 1;
	for (size_t i = 0; i < disks->count; i++) {
		const struct item *item = &disks->items[i];
		struct disk *disk = steal_ptr(disks->items[i].disk);
		if (!disk)
			continue;
		if (item->volume_path && !disk_is_shared(disk))
			direct_volume_forget_user(disks->run_dir, item->volume_path,
						  disks->sandbox_id);
		disks->under_way++;
		disk_release(disk, on_out, disks);
	}
	on_out(disks);
}

struct disk *container_disks_find_volume(const struct container_disks *disks, const char *path,
					 char **ret_guest_path)
{
	for (size_t i = 0; disks && i < disks->count; i++) {
		const struct item *item = &disks->items[i];
		if (!item->disk || !item->volume_path || !str_equal(item->volume_path, path))
			continue;
		*ret_guest_path = xasprintf(MOUNTED, disk_serial(item->disk));
		return item->disk;
	}
	return NULL;
}

void container_disks_release(struct container_disks *disks, void (*fn)(void *userdata),
			     void *userdata)
{
	if (!disks)
		return;
	disks->released = true;
	disks->on_released = fn;
	disks->released_userdata = userdata;
	if (!disks->on_attached)
		give_back(disks);
}

/* ---------------------------------------------------------------- show */

static void add_storage(const struct item *item, const char *mount_point, struct storages *storages)
{
	_cleanup_free_ char *device = xasprintf(GUEST_DISK_BY_ID "%s", disk_serial(item->disk));
	Grpc__Storage *storage = storages_add(storages, "blk", item->fstype, device, mount_point);

	for (size_t i = 0; i < item->options.count; i++)
		storage_option(storage, item->options.items[i]);
	storage_option(storage, "nodev");
	if (!disk_is_writable(item->disk))
		storage_option(storage, "ro");
}

char *container_disks_show_upper(const struct container_disks *disks, struct storages *storages)
{
	for (size_t i = 0; disks && i < disks->count; i++) {
		const struct item *item = &disks->items[i];
		if (item->kind != ITEM_UPPER)
			continue;
		char *mount_point = xasprintf(MOUNTED, disk_serial(item->disk));
		add_storage(item, mount_point, storages);
		return mount_point;
	}
	return NULL;
}

static void add_option(Grpc__Mount *mount, const char *option)
{
	mount->options = xrealloc_array(mount->options, mount->n_options + 1, sizeof(char *));
	mount->options[mount->n_options++] = xstrdup(option);
}

static void become_bind(Grpc__Mount *mount, const struct item *item, const char *mount_point)
{
	keep_mount_options(mount);
	message_text_set(&mount->type, xstrdup("bind"));
	message_text_set(&mount->source, xstrdup(mount_point));
	add_option(mount, "bind");
	if (item->shown_readonly)
		add_option(mount, "ro");
}

static void show_volume(const struct item *item, Grpc__Spec *oci, struct storages *storages)
{
	_cleanup_free_ char *mount_point = xasprintf(MOUNTED, disk_serial(item->disk));

	add_storage(item, mount_point, storages);
	for (size_t i = 0; i < oci->n_mounts; i++)
		if (str_equal(oci->mounts[i]->destination, item->place))
			become_bind(oci->mounts[i], item, mount_point);
}

static void show_device(struct container_disks *disks, const struct item *item)
{
	Grpc__Device *device = xnew(Grpc__Device);

	grpc__device__init(device);
	device->type = xstrdup("blk");
	device->vm_path = xasprintf(GUEST_DISK_BY_ID "%s", disk_serial(item->disk));
	device->container_path = xstrdup(item->place);
	disks->devices = xrealloc_array(disks->devices, disks->ndevices + 1,
					sizeof(*disks->devices));
	disks->devices[disks->ndevices++] = device;
}

void container_disks_show(struct container_disks *disks, Grpc__Spec *oci, struct storages *storages)
{
	for (size_t i = 0; i < disks->count; i++) {
		const struct item *item = &disks->items[i];
		_cleanup_free_ char *root = guest_root_path(disks->container_id);
		switch (item->kind) {
		case ITEM_ROOT:
			add_storage(item, root, storages);
			break;
		case ITEM_UPPER: /* shown before */
			break;
		case ITEM_VOLUME:
			show_volume(item, oci, storages);
			break;
		case ITEM_DEVICE:
			show_device(disks, item);
			break;
		}
	}
}

/* "kiln-disk1" is not to be found in "kiln-disk12". */
static bool tells_of(const char *message, const char *serial)
{
	size_t len = strlen(serial);

	for (const char *p = message; (p = strstr(p, serial)); p += len)
		if (!isdigit((unsigned char)p[len]))
			return true;
	return false;
}

void container_disks_explain(const struct container_disks *disks, struct error *err)
{
	for (size_t i = 0; disks && i < disks->count; i++) {
		const struct item *item = &disks->items[i];
		if (item->disk && tells_of(error_message(err), disk_serial(item->disk))) {
			(void)error_wrap(err, "%s (%s)", item->name, item->path);
			return;
		}
	}
}

size_t container_disks_devices(const struct container_disks *disks, Grpc__Device ***ret)
{
	*ret = disks->devices;
	return disks->ndevices;
}
