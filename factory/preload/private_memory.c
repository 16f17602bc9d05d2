/* Loaded into a clone's QEMU (LD_PRELOAD): it opens a RAM file for writing even where it only
 * maps it privately (share=off, before 8.2 in every case), and a template's memory is writable
 * by nobody. The one file named by KILN_PRIVATE_MEMORY is opened read-only; a private mapping
 * of that is as writable. */
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int open64(const char *path, int flags, ...);
int __open64_2(const char *path, int flags);

static int open_file(const char *path, int flags, mode_t mode)
{
	const char *memory = getenv("KILN_PRIVATE_MEMORY");

	if (memory && (flags & O_ACCMODE) == O_RDWR && strcmp(path, memory) == 0)
		flags = (flags & ~O_ACCMODE) | O_RDONLY;
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
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
