#include "agent/disk.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "agent/uevents.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"
#include "proto/guest_disks.h"

#define BLOCK_FOLDER "/sys/block"
#define ROOT_BUS     "/sys/devices/pci0000:00"

enum { SERIAL_MAX = 64, SLOTS_MAX = 8, SLOT_MAX = 31, WAIT_MS = 3000 };

static bool has_serial(const char *name, const char *serial)
{
	_cleanup_free_ char *path = xasprintf(BLOCK_FOLDER "/%s/serial", name);
	_cleanup_free_ char *text = NULL;

	if (file_read(path, SERIAL_MAX, &text, NULL, NULL) < 0)
		return false;
	text[strcspn(text, "\n")] = '\0';
	return str_equal(text, serial);
}

/* ---------------------------------------------------------------- by its place */

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

int disk_find_pci(const uint32_t *slots, size_t count, char **ret_device, struct error *err)
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
	*ret_device = path_join("/dev", strrchr(path, '/') + 1);
	return 0;
}

/* "1c/02": slots of two hexadecimal digits. */
static int find_by_place(const char *place, char **ret_device, struct error *err)
{
	uint32_t slots[SLOTS_MAX];
	size_t count = 0;

	for (const char *at = place; count < SLOTS_MAX; at += 3) {
		if (!isxdigit((unsigned char)at[0]) || !isxdigit((unsigned char)at[1]) ||
		    (at[2] != '/' && at[2]))
			break;
		slots[count++] = (uint32_t)strtoul(at, NULL, 16);
		if (!at[2])
			return disk_find_pci(slots, count, ret_device, err);
	}
	return error_set(err, EINVAL, "\"%.256s\" is neither a path nor a place on the PCI bus",
			 place);
}

/* ---------------------------------------------------------------- by its name */

int disk_find(const char *path, char **ret_device, struct error *err)
{
	const char *serial = str_after(path, GUEST_DISK_BY_ID);
	const struct dirent *entry;
	char *device = NULL;

	if (*path != '/')
		return find_by_place(path, ret_device, err);
	if (!serial) {
		*ret_device = xstrdup(path);
		return 0;
	}

	DIR *dir = opendir(BLOCK_FOLDER);

	while (dir && !device && (entry = readdir(dir)))
		if (has_serial(entry->d_name, serial))
			device = xasprintf("/dev/%s", entry->d_name);
	if (dir)
		closedir(dir);
	if (!device)
		return error_set(err, ENODEV, "no disk of this machine has the serial number %s",
				 serial);
	*ret_device = device;
	return 0;
}

bool disk_is_ready(const char *device)
{
	_cleanup_close_ int fd = open(device, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	return fd >= 0 || (errno != ENOENT && errno != ENXIO && errno != ENODEV);
}

struct search {
	const char *path;
	char **ret_device;
};

static int search_once(const void *data, struct error *err)
{
	const struct search *search = data;
	_cleanup_free_ char *device = NULL;
	int r = disk_find(search->path, &device, err);

	if (r == 0 && !disk_is_ready(device))
		return error_set(err, ENODEV, "there is no %.256s", device);
	if (r == 0)
		*search->ret_device = steal_ptr(device);
	return r;
}

int disk_await(const char *path, char **ret_device, struct error *err)
{
	const struct search search = { .path = path, .ret_device = ret_device };
	int r = search_once(&search,
			    err); /* mostly it is there, and nothing has to be listened to */

	if (r != -ENODEV)
		return r;
	error_done(err);
	return uevents_await(search_once, &search, ENODEV, WAIT_MS, err);
}

int disk_forget(const char *device, struct error *err)
{
	_cleanup_close_ int fd = open(device, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, BLKFLSBUF, 0) < 0)
		return error_set_errno(err, errno, "cannot read %s anew", device);
	return 0;
}

static void protect(const char *name)
{
	_cleanup_free_ char *device = path_join("/dev", name);
	_cleanup_close_ int fd = open(device, O_RDONLY | O_CLOEXEC);
	int yes = 1;

	if (fd < 0 || ioctl(fd, BLKROSET, &yes) < 0)
		log_error(NULL, "cannot make %s read-only: %s", device, strerror(errno));
}

void disk_protect_images(void)
{
	DIR *dir = opendir(BLOCK_FOLDER);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (str_after(entry->d_name, "pmem"))
			protect(entry->d_name);
	if (dir)
		closedir(dir);
}
