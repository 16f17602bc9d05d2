#include "agent/swap.h"

#include <sys/stat.h>
#include <sys/swap.h>

#include "agent/disk.h"
#include "base/strings.h"

int swap_add(const char *path, struct error *err)
{
	struct stat st;

	if (!str_after(path, "/dev/"))
		return error_set(err, EINVAL, "\"%.256s\" is no device in /dev", path);
	if (stat(path, &st) < 0)
		return error_set_errno(err, errno, "swap device %.256s", path);
	if (!S_ISBLK(st.st_mode))
		return error_set(err, EINVAL, "%.256s is no block device", path);
	if (swapon(path, 0) < 0)
		return error_set_errno(err, errno, "cannot swap to %.256s", path);
	return 0;
}

int swap_add_pci(const uint32_t *slots, size_t count, struct error *err)
{
	_cleanup_free_ char *device = NULL;
	int r = disk_find_pci(slots, count, &device, err);

	return r < 0 ? r : swap_add(device, err);
}
