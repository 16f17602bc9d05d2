/* Loaded into a clone's QEMU (LD_PRELOAD): it opens a RAM file for writing even where it only
 * maps it privately (share=off, before 8.2 in every case), and a template's memory is writable
 * by nobody. The one file named by KILN_PRIVATE_MEMORY is opened read-only; a private mapping
 * of that is as writable.
 *
 * Of pages that a guest does not need any more (free page reporting) QEMU makes holes in the file,
 * and drops them from its mapping only where that succeeds. The file is the template's, of which
 * nothing may be lost, so there the hole is left out, as if it were made. What is dropped was the
 * machine's own copy, and what is read in its place is the template's page: the contents of a page
 * that was reported are undefined (factory/bake/machine.h). */
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int open64(const char *path, int flags, ...);
int __open64_2(const char *path, int flags);
int fallocate64(int fd, int mode, off64_t offset, off64_t len);

static dev_t memory_device;
static ino_t memory_inode; /* 0: it was not opened */

static void note_memory(int fd)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return;
	memory_device = st.st_dev;
	memory_inode = st.st_ino;
}

static int open_file(const char *path, int flags, mode_t mode)
{
	const char *memory = getenv("KILN_PRIVATE_MEMORY");
	bool is_memory = memory && strcmp(path, memory) == 0;

	if (is_memory && (flags & O_ACCMODE) == O_RDWR)
		flags = (flags & ~O_ACCMODE) | O_RDONLY;
	int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
	if (is_memory)
		note_memory(fd);
	return fd;
}

int open64(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list args;

	va_start(args, flags);
	if (flags & (O_CREAT | O_TMPFILE))
		mode = va_arg(args, mode_t);
	va_end(args);
	return open_file(path, flags, mode);
}

int __open64_2(const char *path, int flags)
{
	return open_file(path, flags, 0);
}

static bool is_memory(int fd)
{
	struct stat st;

	return memory_inode != 0 && fstat(fd, &st) == 0 && st.st_dev == memory_device &&
	       st.st_ino == memory_inode;
}

int fallocate64(int fd, int mode, off64_t offset, off64_t len)
{
	if (mode & FALLOC_FL_PUNCH_HOLE && is_memory(fd))
		return 0;
	return (int)syscall(SYS_fallocate, fd, mode, offset, len);
}
