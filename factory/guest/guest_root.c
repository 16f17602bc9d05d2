#include "factory/guest/guest_root.h"

#include <string.h>

#include "base/memory.h"
#include "base/strings.h"
#include "factory/guest/guest_share.h"
#include "proto/guest_disks.h"

#define OVERLAY_RW    "io.katacontainers.fs-opt.overlay-rw"
#define OVERLAY_UPPER "kiln.overlay-upper"
#define LAYERS_DAX    "kiln.dax"
#define IMAGES        "/run/kata-containers/images"
#define SLOT_MOUNT    IMAGES "/slot%zu"
/* Short: the folders of all layers have to fit a page, as an overlay's option. */
#define LAYERS_WINDOW "/run/kiln/w%s"
#define LAYERS_SLOT   "/run/kiln/l%zu"

char *guest_root_path(const char *container_id)
{
	return xasprintf("/run/kata-containers/%s/rootfs", container_id);
}

char *guest_root_add_slot(struct storages *list, size_t slot)
{
	_cleanup_free_ char *device = xasprintf(GUEST_DISK_BY_ID GUEST_DISK_SLOT, slot);
	char *mount_point = xasprintf(SLOT_MOUNT, slot);
	Grpc__Storage *storage = storages_add(list, "blk", "erofs", device, mount_point);

	storage_option(storage, "ro");
	return mount_point;
}

char *guest_root_add_window(struct storages *list, const char *device)
{
	char *mount_point = xasprintf(IMAGES "/%s", device + strlen("/dev/"));
	Grpc__Storage *storage = storages_add(list, "nvdimm", "erofs", device, mount_point);

	storage_option(storage, "ro");
	storage_option(storage, "dax=always");
	return mount_point;
}

static Grpc__Storage *add_layers(struct storages *list, const char *device, const char *mount_point,
				 const struct strv *layout, struct strv *folders)
{
	Grpc__Storage *storage = storages_add(list, "layers", "erofs", device, mount_point);

	for (size_t i = 0; i < layout->count; i++) {
		storage_option(storage, layout->items[i]);
		strv_addf(folders, "%s/%zu", mount_point, i);
	}
	return storage;
}

void guest_root_add_window_layers(struct storages *list, const char *device,
				  const struct strv *layout, struct strv *folders)
{
	_cleanup_free_ char *mount_point = xasprintf(LAYERS_WINDOW, device + strlen("/dev/pmem"));
	Grpc__Storage *storage = add_layers(list, device, mount_point, layout, folders);

	storage_driver_option(storage, LAYERS_DAX);
}

void guest_root_add_slot_layers(struct storages *list, size_t slot, const struct strv *layout,
				struct strv *folders)
{
	_cleanup_free_ char *device = xasprintf(GUEST_DISK_BY_ID GUEST_DISK_SLOT, slot);
	_cleanup_free_ char *mount_point = xasprintf(LAYERS_SLOT, slot);

	(void)add_layers(list, device, mount_point, layout, folders);
}

/* One option for each folder: fsconfig(2) takes no longer ones, and the agent joins them. */
void guest_root_add_overlay(struct storages *list, const char *container_id,
			    const struct strv *lowers, const char *upper)
{
	_cleanup_free_ char *mount_point = guest_root_path(container_id);
	Grpc__Storage *storage = storages_add(list, "overlayfs", "overlay", "overlay", mount_point);

	for (size_t i = 0; i < lowers->count; i++)
		storage_take_option(storage, xasprintf("lowerdir+=%s", lowers->items[i]));
	if (upper) {
		_cleanup_free_ char *option = xasprintf(OVERLAY_UPPER "=%s", upper);
		storage_driver_option(storage, option);
	} else {
		storage_driver_option(storage, OVERLAY_RW);
	}
}

/* Nothing in it changes while a container has it, so all of it may be kept in the guest's memory.
 */
void guest_root_add_lower_share(struct storages *list)
{
	static const char *const options[] = { "trans=virtio", "version=9p2000.L", "msize=262144",
					       "cache=loose", "ro" };
	Grpc__Storage *storage = storages_add(list, "9p", "9p", GUEST_LOWER_TAG, GUEST_LOWER);

	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		storage_option(storage, options[i]);
	storage_keep(storage);
}
