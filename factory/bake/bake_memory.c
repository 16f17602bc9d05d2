#include "factory/bake/bake_memory.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define PAGE_BYTES ((off_t)4096)
#define RUN_MIN    ((off_t)64 * 1024) /* smaller holes cost more than they save */
#define BLOCK_SIZE 512u               /* unit of st_blocks */

struct memory_file {
	const char *path;
	int fd;
	off_t size;
	const char *data; /* mapped */
};

static void memory_file_done(struct memory_file *file)
{
	if (file->data)
		munmap((void *)file->data, (size_t)file->size);
	file->fd = close_fd(file->fd);
}

static int file_map(struct memory_file *file, struct error *err)
{
	struct stat st;

	file->fd = open(file->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (file->fd < 0 || fstat(file->fd, &st) < 0)
		return error_set_errno(err, errno, "cannot open the guest's memory %s", file->path);
	if (st.st_size == 0 || st.st_size % PAGE_BYTES != 0)
		return error_set(err, EINVAL, "the guest's memory %s is %lld bytes long",
				 file->path, (long long)st.st_size);
	file->size = st.st_size;
	void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, file->fd, 0);
	if (data == MAP_FAILED)
		return error_set_errno(err, errno, "cannot map %s", file->path);
	file->data = data;
	return 0;
}

static bool page_is_zero(const char *page)
{
	/* Equal to itself shifted by one byte and beginning with 0: all of it is 0. */
	return page[0] == 0 && memcmp(page, page + 1, PAGE_BYTES - 1) == 0;
}

static int punch(const struct memory_file *file, off_t start, off_t end, struct error *err)
{
	if (end - start < RUN_MIN)
		return 0;
	if (fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, end - start) < 0)
		return error_set_errno(err, errno, "cannot punch a hole into %s", file->path);
	return 0;
}

/* One stretch of data, without holes. */
static int punch_data(const struct memory_file *file, off_t start, off_t end, struct error *err)
{
	off_t run = start;

	for (off_t page = start; page < end; page += PAGE_BYTES) {
		if (page_is_zero(file->data + page))
			continue;
		int r = punch(file, run, page, err);
		if (r < 0)
			return r;
		run = page + PAGE_BYTES;
	}
	return run < end ? punch(file, run, end, err) : 0;
}

static int punch_all(const struct memory_file *file, struct error *err)
{
	off_t at = 0;

	while (at < file->size && (at = lseek(file->fd, at, SEEK_DATA)) >= 0) {
		off_t end = lseek(file->fd, at, SEEK_HOLE);
		if (end < 0)
			return error_set_errno(err, errno, "cannot look for the holes of %s",
					       file->path);
		/* A file system may count in other units than pages. */
		int r = punch_data(file, at / PAGE_BYTES * PAGE_BYTES,
				   (end + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES, err);
		if (r < 0)
			return r;
		at = end;
	}
	if (at < 0 && errno != ENXIO) /* ENXIO: no data up to the end */
		return error_set_errno(err, errno, "cannot look for the holes of %s", file->path);
	return 0;
}

int bake_memory_allocated(const char *path, uint64_t *ret_bytes, struct error *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return error_set_errno(err, errno, "cannot read the size of the guest's memory %s",
				       path);
	*ret_bytes = (uint64_t)st.st_blocks * BLOCK_SIZE;
	return 0;
}

int bake_memory_punch(const char *path, struct error *err)
{
	_cleanup_(memory_file_done) struct memory_file file = { .path = path, .fd = -EBADF };

	int r = file_map(&file, err);
	return file.data ? punch_all(&file, err) : r;
}
