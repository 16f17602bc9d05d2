/* Loaded into a machine's QEMU (LD_PRELOAD): lets its 9p server make FIFOs and sockets, and change
 * the modes of all special files.
 *
 * For its fix of CVE-2023-2861 Debian 12's QEMU 7.2 opens nothing but regular files and folders,
 * which it sees to with fstat(2). It does so with descriptors of O_PATH, too, by which it changes
 * modes, also of what it has just made: a FIFO is made, refused with ENXIO and removed. Nothing is
 * read, written or opened by such a descriptor, so it passes here for a regular file's. All others
 * are told as they are. */
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>

int fstat64(int fd, struct stat64 *st);

static bool is_special(mode_t mode)
{
	return !S_ISREG(mode) && !S_ISDIR(mode) && !S_ISLNK(mode);
}

static bool is_only_a_path(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && flags & O_PATH;
}

int fstat64(int fd, struct stat64 *st)
{
	int r = fstatat64(fd, "", st, AT_EMPTY_PATH);

	if (r == 0 && is_special(st->st_mode) && is_only_a_path(fd))
		st->st_mode = (st->st_mode & ~(mode_t)S_IFMT) | S_IFREG;
	return r;
}
