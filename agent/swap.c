#include "agent/swap.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/swap.h>

#include <dirent.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

#define ROOT_BUS "/sys/devices/pci0000:00"

enum { SLOTS_MAX = 8, SLOT_MAX = 31 };

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

/* The path of the first entry that matches; the caller frees. NULL: there is none. */
static char *find_entry(const char *folder, const char *pattern)
{
	DIR *dir = opendir(folder);
	const struct dirent *entry;
	char *path = NULL;

	while (dir && !path && (entry = readdir(dir)))
		if (fnmatch(pattern, entry->d_name, FNM_PERIOD) == 0)
			path = path_join(folder, entry->d_name);
	if (dir)
		closedir(dir);
	return path;
}

static char *find_below(char *folder, const char *pattern)
{
	_cleanup_free_ char *above = folder;

	return above ? find_entry(above, pattern) : NULL;
}

int swap_add_pci(const uint32_t *slots, size_t count, struct error *err)
{
	_cleanup_free_ char *path = xstrdup(ROOT_BUS);

	if (count == 0 || count > SLOTS_MAX)
		return error_set(err, EINVAL, "a place on the PCI bus has 1 to %d slots, not %zu",
				 SLOTS_MAX, count);
	for (size_t i = 0; i < count; i++) {
		_cleanup_free_ char *pattern = xasprintf("*:%02x.0", slots[i]);
		if (slots[i] > SLOT_MAX)
			return error_set(err, EINVAL, "there is no PCI slot %u", slots[i]);
		path = find_below(steal_ptr(path), pattern);
	}
	path = find_below(steal_ptr(path), "virtio*");
	path = find_below(steal_ptr(path), "block");
	path = find_below(steal_ptr(path), "*");
	if (!path)
		return error_set(err, ENODEV, "no disk is at this place on the PCI bus");
	_cleanup_free_ char *device = path_join("/dev", strrchr(path, '/') + 1);
	return swap_add(device, err);
}
