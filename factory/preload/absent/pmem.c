/* Stands for libpmem, with which QEMU writes to a memory backend that has `pmem=on`: a template's
 * machine has none. That library brings four others, libcrypto among them, and so costs each QEMU
 * most of a MiB. factory/preload/absent/capstone.c says how one stands for the other.
 *
 * All functions of the library are here and do as they say, by msync(), which is as good on such
 * a memory and slower. Only files are mapped by the true library alone. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORTED(type, name, ...)                                                                  \
	type name(__VA_ARGS__);                                                                    \
	type name(__VA_ARGS__)

EXPORTED(int, pmem_msync, const void *at, size_t len)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t first = (uintptr_t)at & ~(page - 1);

	return msync((void *)first, (uintptr_t)at + len - first, MS_SYNC);
}

EXPORTED(void, pmem_persist, const void *at, size_t len)
{
	(void)pmem_msync(at, len);
}

EXPORTED(void, pmem_flush, const void *at, size_t len)
{
	(void)pmem_msync(at, len);
}

EXPORTED(int, pmem_deep_persist, const void *at, size_t len)
{
	return pmem_msync(at, len);
}

EXPORTED(void, pmem_deep_flush, const void *at, size_t len)
{
	(void)pmem_msync(at, len);
}

/* Nothing waits to be drained: what is flushed is there. */
EXPORTED(void, pmem_drain, void)
{
}

EXPORTED(int, pmem_deep_drain, const void *at, size_t len)
{
	(void)at;
	(void)len;
	return 0;
}

EXPORTED(void *, pmem_memmove, void *to, const void *from, size_t len, unsigned flags)
{
	(void)flags;
	memmove(to, from, len);
	pmem_persist(to, len);
	return to;
}

EXPORTED(void *, pmem_memset, void *to, int byte, size_t len, unsigned flags)
{
	(void)flags;
	memset(to, byte, len);
	pmem_persist(to, len);
	return to;
}

EXPORTED(void *, pmem_memcpy, void *to, const void *from, size_t len, unsigned flags)
{
	return pmem_memmove(to, from, len, flags);
}

#define COPIES(name)                                                                               \
	EXPORTED(void *, name, void *to, const void *from, size_t len)                             \
	{                                                                                          \
		return pmem_memmove(to, from, len, 0);                                             \
	}
#define SETS(name)                                                                                 \
	EXPORTED(void *, name, void *to, int byte, size_t len)                                     \
	{                                                                                          \
		return pmem_memset(to, byte, len, 0);                                              \
	}
COPIES(pmem_memcpy_persist)
COPIES(pmem_memcpy_nodrain)
COPIES(pmem_memmove_persist)
COPIES(pmem_memmove_nodrain)
SETS(pmem_memset_persist)
SETS(pmem_memset_nodrain)

EXPORTED(int, pmem_is_pmem, const void *at, size_t len)
{
	(void)at;
	(void)len;
	return 0;
}

EXPORTED(int, pmem_has_auto_flush, void)
{
	return 0;
}

EXPORTED(int, pmem_has_hw_drain, void)
{
	return 0;
}

EXPORTED(void *, pmem_map_file, const char *path, size_t len, int flags, unsigned mode,
	 size_t *ret_mapped, int *ret_is_pmem)
{
	(void)path;
	(void)len;
	(void)flags;
	(void)mode;
	(void)ret_mapped;
	(void)ret_is_pmem;
	errno = ENOTSUP;
	return NULL;
}

EXPORTED(int, pmem_unmap, void *at, size_t len)
{
	return munmap(at, len);
}

EXPORTED(const char *, pmem_check_version, unsigned major, unsigned minor)
{
	(void)major;
	(void)minor;
	return NULL;
}

EXPORTED(const char *, pmem_errormsg, void)
{
	return "files are not mapped here";
}
