/* What is behind a disk that a machine is given: a block device of the host, or a regular file.
 *
 * Whoever writes to one has it alone on this node: a device by O_EXCL, which the kernel also
 * refuses while something is mounted of it or another claims it; a file by flock(2), which readers
 * share. Both belong to the open file, which the VMM gets: they hold for as long as either has it
 * open, and end with the last one, however it ends. Of a device, readers cannot be told from
 * writers.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define DISK_FILE_BYTES_MIN 512 /* one sector */

/* Which one it is, whatever it is called. */
struct disk_file {
	bool is_device;
	dev_t device; /* its own number; of a regular file the file system's, with inode */
	ino_t inode;  /* of a device 0 */
};

/* -ENOENT; -ENOTBLK: it is neither. */
_must_check_ int disk_file_identify(const char *path, struct disk_file *ret, struct error *err);
/* The block device with this number; *ret_path ("/dev/sda") is the caller's. -ENODEV: the host has
 * none (any more). */
_must_check_ int disk_file_of_number(unsigned major, unsigned minor, char **ret_path,
				     struct error *err);
bool disk_file_equal(const struct disk_file *a, const struct disk_file *b);

/* -EINVAL: it cannot become size bytes large, because it is a device that is smaller, or a file
 * that is larger. Errors do not name the path. */
_must_check_ int disk_file_can_grow(const char *path, uint64_t size, struct error *err);

/* path must still be file. The caller owns *ret_fd. -EBUSY: it is in use; -EINVAL: it is too small;
 * -EROFS, -EACCES: it cannot be written to. Errors do not name the path. */
_must_check_ int disk_file_open(const char *path, const struct disk_file *file, bool writable,
				int *ret_fd, struct error *err);
