#include "agent/device_numbers.h"

#include <inttypes.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "agent/disk.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"

struct number {
	int64_t major, minor;
};

struct change {
	struct number host, guest;
};

static Grpc__LinuxDevice *find(const Grpc__Spec *spec, const char *path)
{
	for (size_t i = 0; spec && spec->linux && i < spec->linux->n_devices; i++)
		if (str_equal(spec->linux->devices[i]->path, path))
			return spec->linux->devices[i];
	return NULL;
}

static int set_number(const Grpc__CreateContainerRequest *request, const Grpc__Device *device,
		      struct change *ret, struct error *err)
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
	ret->host = (struct number){ node->major, node->minor };
	node->major = major(st.st_rdev);
	node->minor = minor(st.st_rdev);
	ret->guest = (struct number){ node->major, node->minor };
	return 0;
}

/* Whether the rule means something here. Its numbers are looked up once: a number of the guest's
 * may be another one's of the host's. */
static bool change_rule(Grpc__LinuxDeviceCgroup *rule, const struct change *changes, size_t count)
{
	if (!str_equal(rule->type, "b") || rule->major < 0)
		return true;
	for (size_t i = 0; i < count; i++) {
		const struct number *host = &changes[i].host, *guest = &changes[i].guest;

		if (host->major != rule->major || host->minor != rule->minor)
			continue;
		rule->major = guest->major;
		rule->minor = guest->minor;
		return true;
	}
	return false;
}

static void change_rules(const Grpc__CreateContainerRequest *request, const struct change *changes)
{
	Grpc__LinuxResources *resources = request->oci && request->oci->linux
						  ? request->oci->linux->resources
						  : NULL;
	size_t kept = 0, count = resources ? resources->n_devices : 0;

	for (size_t i = 0; i < count; i++) {
		Grpc__LinuxDeviceCgroup *rule = resources->devices[i];

		if (change_rule(rule, changes, request->n_devices)) {
			resources->devices[kept++] = rule;
			continue;
		}
		log_info(request->container_id,
			 "the rule about block device %" PRId64 ":%" PRId64
			 " is left out: it is the host's, and not in the guest",
			 rule->major, rule->minor);
		protobuf_c_message_free_unpacked(&rule->base, NULL);
	}
	if (resources)
		resources->n_devices = kept;
}

int device_numbers_set(const Grpc__CreateContainerRequest *request, struct error *err)
{
	_cleanup_free_ struct change *changes = xnew_array(struct change, request->n_devices + 1);

	for (size_t i = 0; i < request->n_devices; i++) {
		const Grpc__Device *device = request->devices[i];
		int r = set_number(request, device, &changes[i], err);
		if (r < 0)
			return error_wrap(err, "device %.256s", device->container_path);
	}
	change_rules(request, changes);
	return 0;
}
