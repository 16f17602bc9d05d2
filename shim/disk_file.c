#include "shim/disk_file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

enum { UEVENT_MAX = 4096 };

/* ---------------------------------------------------------------- which one */

static int identify(const struct stat *st, struct disk_file *ret, struct error *err)
{
	if (S_ISBLK(st->st_mode))
		*ret = (struct disk_file){ .is_device = true, .device = st->st_rdev };
	else if (S_ISREG(st->st_mode))
		*ret = (struct disk_file){ .device = st->st_dev, .inode = st->st_ino };
	else
		return error_set(err, ENOTBLK, "it is neither a block device nor a regular file");
	return 0;
}

int disk_file_identify(const char *path, struct disk_file *ret, struct error *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return error_set_errno(err, errno, "%s", path);
	int r = identify(&st, ret, err);
	return r < 0 ? error_wrap(err, "%s", path) : 0;
}

bool disk_file_equal(const struct disk_file *a, const struct disk_file *b)
{
	return a->is_device == b->is_device && a->device == b->device && a->inode == b->inode;
}

/* The kernel's own name of it, below /dev. */
static char *device_name(unsigned major, unsigned minor)
{
	_cleanup_free_ char *path = xasprintf("/sys/dev/block/%u:%u/uevent", major, minor);
	_cleanup_free_ char *text = NULL;
	char *save = NULL;

	if (file_read(path, UEVENT_MAX, &text, NULL, NULL) < 0)
		return NULL;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *name = str_after(line, "DEVNAME=");
		if (name)
			return path_join("/dev", name);
	}
	return NULL;
}

int disk_file_of_number(unsigned major, unsigned minor, char **ret_path, struct error *err)
{
	_cleanup_free_ char *path = device_name(major, minor);
	struct stat st;

	if (!path || stat(path, &st) < 0 || !S_ISBLK(st.st_mode) ||
	    st.st_rdev != makedev(major, minor))
		return error_set(err, ENODEV, "the host has no block device %u:%u", major, minor);
	*ret_path = steal_ptr(path);
	return 0;
}

/* ---------------------------------------------------------------- open */

static int get_size(int fd, const struct stat *st, uint64_t *ret, struct error *err)
{
	*ret = (uint64_t)st->st_size;
	if (S_ISBLK(st->st_mode) && ioctl(fd, BLKGETSIZE64, ret) < 0)
		return error_set_errno(err, errno, "cannot learn its size");
	return 0;
}

static int check_size(int fd, const struct stat *st, struct error *err)
{
	uint64_t bytes;
	int r = get_size(fd, st, &bytes, err);

	if (r < 0)
		return r;
	if (bytes < DISK_FILE_BYTES_MIN)
		return error_set(err, EINVAL, "it is too small for a disk: %lu bytes",
				 (unsigned long)bytes);
	return 0;
}

static int claim_file(int fd, bool writable, struct error *err)
{
	if (flock(fd, (writable ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0)
		return 0;
	if (errno != EWOULDBLOCK)
		return error_set_errno(err, errno, "cannot lock it");
	return error_set(err, EBUSY, "it is in use by another sandbox%s",
			 writable ? "" : ", which writes to it");
}

int disk_file_open(const char *path, const struct disk_file *file, bool writable, int *ret_fd,
		   struct error *err)
{
	bool alone = writable && file->is_device;
	_cleanup_close_ int fd = open(path, (writable ? O_RDWR : O_RDONLY) | (alone ? O_EXCL : 0) |
						    O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct disk_file found = {};
	struct stat st;

	if (fd < 0 && errno == EBUSY)
		return error_set(err, EBUSY,
				 "it is in use: by another sandbox, or mounted on the host");
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set_errno(err, errno, "cannot open it for %s",
				       writable ? "writing" : "reading");
	int r = identify(&st, &found, err);
	if (r == 0 && !disk_file_equal(&found, file))
		r = error_set(err, ESTALE, "it was replaced by another one meanwhile");
	if (r == 0)
		r = check_size(fd, &st, err);
	if (r == 0 && !file->is_device)
		r = claim_file(fd, writable, err);
	if (r == 0)
		*ret_fd = steal_fd(&fd);
	return r;
}

int disk_file_can_grow(const char *path, uint64_t size, struct error *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;
	uint64_t bytes;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set_errno(err, errno, "cannot open it");
	int r = get_size(fd, &st, &bytes, err);
	if (r == 0 && S_ISBLK(st.st_mode) && bytes < size)
		return error_set(err, EINVAL,
				 "the device has %lu bytes: it must become larger first",
				 (unsigned long)bytes);
	if (r == 0 && S_ISREG(st.st_mode) && bytes > size)
		return error_set(err, EINVAL, "the file has %lu bytes, and does not become smaller",
				 (unsigned long)bytes);
	return r;
}
