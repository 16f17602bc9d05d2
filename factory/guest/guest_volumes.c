#include "factory/guest/guest_volumes.h"

#include "base/memory.h"

#define SHARE      "/run/kiln/host-volumes/share"
#define CONTAINERS "/run/kiln/host-volumes/containers"

void guest_volumes_add(struct storages *list, const char *container_id)
{
	_cleanup_free_ char *folder = xasprintf(SHARE "/%s", container_id);
	_cleanup_free_ char *mount_point = xasprintf(CONTAINERS "/%s", container_id);

	storages_add(list, "virtio-fs", "virtiofs", VOLUMES_TAG, SHARE);
	storages_add(list, "bind", "bind", folder, mount_point);
}

char *guest_volumes_path(const char *container_id, const char *name)
{
	return xasprintf(CONTAINERS "/%s/%s", container_id, name);
}
