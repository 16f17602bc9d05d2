/* Gives memory of empty hash tables back. QEMU makes one of 1 MiB for each share (virtio-9p, for
 * inodes with long numbers, which next to no folder has) and writes zeros into it. A page that was
 * given back is as full of zeros when it is read, and takes no memory until it is written to.
 *
 * It is done once, when the factory connects to the monitor: the machine is whole by then, and
 * nothing of it runs yet. Only the main thread is awake, and that is in accept4(). */
#include <errno.h>
#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of QEMU's hash tables (qht). The table that finds translated code is smaller at first. */
enum { TABLE_ALIGN = 64, TABLE_BYTES_MIN = 1024 * 1024, TABLES_MAX = 16, PAGE_BYTES = 4096 };

static struct {
	char *at;
	size_t size;
} tables[TABLES_MAX]; /* the main thread's alone */
static size_t ntables;
static bool is_done;

static bool is_main_thread(void)
{
	return getpid() == (int)syscall(SYS_gettid);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
	void *memory = memalign(alignment, size);

	if (!memory)
		return ENOMEM;
	if (alignment == TABLE_ALIGN && size >= TABLE_BYTES_MIN && is_main_thread() && !is_done &&
	    ntables < TABLES_MAX) {
		tables[ntables].at = memory;
		tables[ntables++].size = size;
	}
	*ret = memory;
	return 0;
}

/* Whole pages of it; a table that was freed since is not mapped any more. */
static void give_back(char *at, size_t size)
{
	unsigned char resident[TABLE_BYTES_MIN / PAGE_BYTES];
	char *first = (char *)(((uintptr_t)at + PAGE_BYTES - 1) & -(uintptr_t)PAGE_BYTES);
	size_t len = (size_t)(at + size - first) & -(size_t)PAGE_BYTES;

	if (len > TABLE_BYTES_MIN || mincore(first, len, resident) < 0)
		return;
	if (first[0] == 0 && memcmp(first, first + 1, len - 1) == 0)
		(void)madvise(first, len, MADV_DONTNEED);
}

int accept4(int fd, struct sockaddr *restrict peer, socklen_t *restrict len, int flags)
{
	if (!is_done && is_main_thread()) {
		is_done = true;
		for (size_t i = 0; i < ntables; i++)
			give_back(tables[i].at, tables[i].size);
	}
	return (int)syscall(SYS_accept4, fd, peer, len, flags);
}
