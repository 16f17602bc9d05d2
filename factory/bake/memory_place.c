#include "factory/bake/memory_place.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/statvfs.h>

#include "base/file.h"
#include "base/memory.h"
#include "factory/store/memory_copy.h"

#define NUMBER_MAX 32

static uint64_t huge_pages(const char *name, uint64_t page)
{
	_cleanup_free_ char *path = xasprintf("/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/%s",
					      page / 1024, name);
	_cleanup_free_ char *text = NULL;

	return file_read(path, NUMBER_MAX, &text, NULL, NULL) == 0 ? strtoull(text, NULL, 10) : 0;
}

static int check_huge(const char *dir, uint64_t page, uint64_t bytes, struct error *err)
{
	uint64_t free_pages = huge_pages("free_hugepages", page);
	uint64_t reserved = huge_pages("resv_hugepages", page);
	uint64_t there = free_pages > reserved ? free_pages - reserved : 0;
	uint64_t needed = 2 * (bytes / page); /* the template and one clone */

	if (bytes % page != 0)
		return error_set(err, EINVAL,
				 "memory_dir %s is on hugetlbfs with pages of %" PRIu64
				 " MiB: memory_mib must be a multiple of that",
				 dir, page >> 20);
	if (there < needed)
		return error_set(err, ENOSPC,
				 "memory_dir %s has %" PRIu64 " huge pages of %" PRIu64
				 " KiB free, the template and one clone of it need %" PRIu64
				 ": raise %s",
				 dir, there, page / 1024, needed,
				 page == 2 << 20 ? "sysctl vm.nr_hugepages"
						 : "nr_hugepages in /sys/kernel/mm/hugepages");
	return 0;
}

static int check_plain(const char *dir, uint64_t bytes, struct error *err)
{
	struct statvfs st;

	if (statvfs(dir, &st) < 0)
		return error_set_errno(err, errno, "cannot read the free space of %s", dir);
	if (st.f_blocks == 0)
		return error_set(err, EOPNOTSUPP,
				 "memory_dir %s is on a file system that holds no files: choose a "
				 "folder on tmpfs, hugetlbfs or a disk",
				 dir);
	if (st.f_flag & ST_RDONLY)
		return error_set(err, EROFS, "memory_dir %s is mounted read-only", dir);
	uint64_t free_mib = (uint64_t)st.f_bavail * st.f_frsize >> 20;
	if (free_mib < bytes >> 20)
		return error_set(err, ENOSPC,
				 "memory_dir %s has %" PRIu64
				 " MiB free, the guest's memory needs %" PRIu64,
				 dir, free_mib, bytes >> 20);
	return 0;
}

int memory_place_check(const char *dir, uint64_t bytes, struct error *err)
{
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return error_set_errno(err, errno, "memory_dir %s cannot be used", dir);
	uint64_t page = memory_huge_page(fd);
	return page > 0 ? check_huge(dir, page, bytes, err) : check_plain(dir, bytes, err);
}

int memory_place_put(const char *from, const char *path, struct error *err)
{
	_cleanup_close_ int in = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	_cleanup_close_ int out = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (in < 0)
		return error_set_errno(err, errno, "cannot open the guest's memory %s", from);
	if (out < 0)
		return error_set_errno(err, errno, "cannot create %s", path);
	return memory_copy(in, out, path, NULL, err);
}
