#include "agent/volume.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

#ifndef EXT4_IOC_RESIZE_FS
#define EXT4_IOC_RESIZE_FS _IOW('f', 16, uint64_t) /* linux/fs/ext4/ext4.h */
#endif

enum { SECTOR_BYTES = 512, NUMBER_MAX = 64 };

int volume_stats(const char *path, Grpc__VolumeUsage *ret_bytes, Grpc__VolumeUsage *ret_inodes,
		 struct error *err)
{
	struct statvfs fs;

	if (statvfs(path, &fs) < 0)
		return error_set_errno(err, errno, "volume %s", path);
	ret_bytes->unit = GRPC__VOLUME_USAGE__UNIT__BYTES;
	ret_bytes->total = fs.f_blocks * fs.f_frsize;
	ret_bytes->available = fs.f_bavail * fs.f_frsize;
	ret_bytes->used = (fs.f_blocks - fs.f_bfree) * fs.f_frsize;
	ret_inodes->unit = GRPC__VOLUME_USAGE__UNIT__INODES;
	ret_inodes->total = fs.f_files;
	ret_inodes->available = fs.f_favail;
	ret_inodes->used = fs.f_files - fs.f_ffree;
	return 0;
}

static int disk_bytes(dev_t device, uint64_t *ret, struct error *err)
{
	_cleanup_free_ char *path = xasprintf("/sys/dev/block/%u:%u/size", major(device),
					      minor(device));
	_cleanup_free_ char *text = NULL;
	int r = file_read(path, NUMBER_MAX, &text, NULL, err);

	if (r < 0)
		return r;
	*ret = strtoull(text, NULL, 10) * SECTOR_BYTES;
	return 0;
}

int volume_grow(const char *path, uint64_t size, struct error *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint64_t blocks, bytes;
	struct statfs fs;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return error_set_errno(err, errno, "volume %s", path);
	int r = disk_bytes(st.st_dev, &bytes, err);
	if (r < 0)
		return r;
	if (bytes < size)
		return error_set(err, EAGAIN, "its disk has %" PRIu64 " bytes, not %" PRIu64, bytes,
				 size);
	if (fs.f_type != EXT4_SUPER_MAGIC)
		return error_set(err, EOPNOTSUPP,
				 "only an ext4 can become larger, and this is 0x%lx",
				 (unsigned long)fs.f_type);
	blocks = size / (uint64_t)fs.f_bsize;
	if (ioctl(fd, EXT4_IOC_RESIZE_FS, &blocks) < 0)
		return error_set_errno(err, errno, "the file system does not become larger");
	return 0;
}
