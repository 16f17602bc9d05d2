#include "agent/device_numbers.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "agent/disk.h"
#include "base/strings.h"

static Grpc__LinuxDevice *find(const Grpc__Spec *spec, const char *path)
{
	for (size_t i = 0; spec && spec->linux && i < spec->linux->n_devices; i++)
		if (str_equal(spec->linux->devices[i]->path, path))
			return spec->linux->devices[i];
	return NULL;
}

static int set_number(const Grpc__CreateContainerRequest *request, const Grpc__Device *device,
		      struct error *err)
{
	Grpc__LinuxDevice *node = find(request->oci, device->container_path);
	_cleanup_free_ char *disk = NULL;
	struct stat st;

	if (!str_equal(device->type, "blk"))
		return error_set(err, EOPNOTSUPP, "its type is \"%.64s\" and not blk",
				 device->type);
	if (!node || !str_equal(node->type, "b"))
		return error_set(err, EINVAL, "the spec has no block device of this path");
	int r = disk_find(device->vm_path, &disk, err);
	if (r < 0)
		return r;
	if (stat(disk, &st) < 0)
		return error_set_errno(err, errno, "%s", disk);
	if (!S_ISBLK(st.st_mode))
		return error_set(err, ENODEV, "%s is no block device", disk);
	node->major = major(st.st_rdev);
	node->minor = minor(st.st_rdev);
	return 0;
}

int device_numbers_set(const Grpc__CreateContainerRequest *request, struct error *err)
{
	for (size_t i = 0; i < request->n_devices; i++) {
		const Grpc__Device *device = request->devices[i];
		int r = set_number(request, device, err);
		if (r < 0)
			return error_wrap(err, "device %.256s", device->container_path);
	}
	return 0;
}
