#include "agent/disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"
#include "proto/guest_disks.h"

#define BLOCK_FOLDER "/sys/block"

enum { SERIAL_MAX = 64 };

static bool has_serial(const char *name, const char *serial)
{
	_cleanup_free_ char *path = xasprintf(BLOCK_FOLDER "/%s/serial", name);
	_cleanup_free_ char *text = NULL;

	if (file_read(path, SERIAL_MAX, &text, NULL, NULL) < 0)
		return false;
	text[strcspn(text, "\n")] = '\0';
	return str_equal(text, serial);
}

int disk_find(const char *path, char **ret_device, struct error *err)
{
	const char *serial = str_after(path, GUEST_DISK_BY_ID);
	const struct dirent *entry;
	char *device = NULL;

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
