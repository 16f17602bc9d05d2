/* Loaded into a clone's QEMU (LD_PRELOAD): it opens a RAM file for writing even where it only
 * maps it privately (share=off, before 8.2 in every case), and a template's memory is writable
 * by nobody. The one file named by KILN_PRIVATE_MEMORY is opened read-only; a private mapping
 * of that is as writable.
 *
 * Of pages that a guest does not need any more (free page reporting) QEMU makes holes in the file,
 * and drops them from its mapping only where that succeeds. The file is the template's, of which
 * nothing may be lost, so there the hole is left out, as if it were made. What is dropped was the
 * machine's own copy, and what is read in its place is the template's page: the contents of a page
 * that was reported are undefined (factory/bake/machine.h).
 *
 * What was free in the template is holes of its file. A machine that writes there would have a page
 * made in the file first, and then copied; the page would stay there when the machine has given its
 * copy back, and when it has ended. So holes are mapped as what they are: zeroes, and nobody's. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int open64(const char *path, int flags, ...);
int __open64_2(const char *path, int flags);
int fallocate64(int fd, int mode, off64_t offset, off64_t len);
void *mmap64(void *at, size_t len, int access, int flags, int fd, off64_t offset);

/* Smaller ones stay the file's: each piece costs the kernel a description. */
enum { HOLE_BYTES_MIN = 64 * 1024 };

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

static void *map(void *at, size_t len, int access, int flags, int fd, off64_t offset)
{
	return (void *)syscall(SYS_mmap, at, len, access, flags, fd, offset);
}

/* The next hole of the file between *at and end; false: there is no more. *at moves behind it. */
static bool next_hole(int fd, off64_t *at, off64_t end, off64_t *ret_first, off64_t *ret_end)
{
	off64_t hole = lseek64(fd, *at, SEEK_HOLE);

	if (hole < 0 || hole >= end)
		return false;
	off64_t data = lseek64(fd, hole, SEEK_DATA);
	*ret_first = hole;
	*ret_end = *at = data < 0 || data > end ? end : data;
	return true;
}

/* Where one could not be covered, there may be nothing now. */
static bool cover_holes(char *memory, size_t len, int access, int flags, int fd, off64_t offset)
{
	off64_t at = offset, end = offset + (off64_t)len, first, after;

	while (next_hole(fd, &at, end, &first, &after)) {
		if (after - first < HOLE_BYTES_MIN)
			continue;
		if (map(memory + (first - offset), (size_t)(after - first), access,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | (flags & MAP_NORESERVE), -1,
			0) == MAP_FAILED)
			return false;
	}
	return true;
}

void *mmap64(void *at, size_t len, int access, int flags, int fd, off64_t offset)
{
	void *memory = map(at, len, access, flags, fd, offset);

	if (memory == MAP_FAILED || !(flags & MAP_PRIVATE) || fd < 0 || !is_memory(fd) ||
	    cover_holes(memory, len, access, flags, fd, offset))
		return memory;
	(void)syscall(SYS_munmap, memory, len);
	errno = ENOMEM;
	return MAP_FAILED;
}
