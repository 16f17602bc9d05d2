#include "factory/store/memory_copy.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/file.h"
#include "base/memory.h"

#define PIECE ((size_t)256 * 1024) /* of a common file system, read at a time */
#define PAGE  ((size_t)4096)

struct copying {
	int from, to;
	const char *name;
	bool huge;
	size_t piece; /* bytes at a time */
	off_t size;
	char *buffer; /* owned; one piece */
};

uint64_t memory_huge_page(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize : 0;
}

static bool is_zero(const char *data, size_t len)
{
	/* Equal to itself shifted by one byte and beginning with 0: all of it is 0. */
	return data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

/* Where the page that begins at `at` ends, in a piece of len bytes. */
static size_t page_end(size_t at, size_t len)
{
	return len - at < PAGE ? len : at + PAGE;
}

/* Mapping takes the page, so that there is none to miss when it is touched. */
static int write_huge(const struct copying *copying, off_t at, size_t len, struct error *err)
{
	void *page = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, copying->to, at);

	if (page == MAP_FAILED && errno == ENOMEM)
		return error_set(err, ENOMEM,
				 "no huge page is free for %s: reserve more, as with `sysctl "
				 "vm.nr_hugepages`",
				 copying->name);
	if (page == MAP_FAILED)
		return error_set_errno(err, errno, "cannot map %s", copying->name);
	memcpy(page, copying->buffer, len);
	munmap(page, len);
	return 0;
}

/* Pages that are zero stay holes, also in the middle of a piece. */
static int write_plain(const struct copying *copying, off_t at, size_t len, struct error *err)
{
	size_t begin = 0;

	while (begin < len) {
		size_t end = begin;
		while (end < len && !is_zero(copying->buffer + end, page_end(end, len) - end))
			end = page_end(end, len);
		if (lseek(copying->to, at + (off_t)begin, SEEK_SET) < 0)
			return error_set_errno(err, errno, "cannot write %s", copying->name);
		int r = write_full(copying->to, copying->buffer + begin, end - begin);
		if (r < 0)
			return error_set_errno(err, r, "cannot write %s", copying->name);
		begin = page_end(end, len);
	}
	return 0;
}

static int copy_piece(const struct copying *copying, off_t at, struct error *err)
{
	size_t len = copying->size - at < (off_t)copying->piece ? (size_t)(copying->size - at)
								: copying->piece;

	if (lseek(copying->from, at, SEEK_SET) < 0)
		return error_set_errno(err, errno, "cannot read what %s is made of", copying->name);
	ssize_t got = read_full(copying->from, copying->buffer, len);
	if (got < 0 || (size_t)got != len)
		return error_set_errno(err, got < 0 ? (int)got : EIO,
				       "cannot read what %s is made of", copying->name);
	if (is_zero(copying->buffer, len))
		return 0;
	return copying->huge ? write_huge(copying, at, len, err)
			     : write_plain(copying, at, len, err);
}

/* A file system without SEEK_DATA (hugetlbfs) calls everything data: then zeroes are found by
 * looking. */
static int copy_all(const struct copying *copying, const atomic_bool *cancelled, struct error *err)
{
	off_t at = 0;

	while (at < copying->size && (at = lseek(copying->from, at, SEEK_DATA)) >= 0) {
		off_t end = lseek(copying->from, at, SEEK_HOLE);
		if (end < 0)
			break;
		for (at -= at % (off_t)copying->piece; at < end; at += (off_t)copying->piece) {
			if (cancelled && atomic_load(cancelled))
				return error_set(err, ECANCELED, "cancelled");
			int r = copy_piece(copying, at, err);
			if (r < 0)
				return r;
		}
	}
	if (at < copying->size && errno != ENXIO) /* ENXIO: no data up to the end */
		return error_set_errno(err, errno, "cannot read what %s is made of", copying->name);
	return 0;
}

int memory_copy(int from, int to, const char *name, const atomic_bool *cancelled, struct error *err)
{
	struct copying copying = { .from = from, .to = to, .name = name };
	uint64_t huge = memory_huge_page(to);
	struct stat st;

	copying.huge = huge > 0;
	copying.piece = copying.huge ? (size_t)huge : PIECE;
	if (fstat(from, &st) < 0)
		return error_set_errno(err, errno, "cannot read what %s is made of", name);
	copying.size = st.st_size;
	if (copying.huge && (uint64_t)st.st_size % huge != 0)
		return error_set(err, EINVAL, "%s: %jd bytes are not whole huge pages of %ju KiB",
				 name, (intmax_t)st.st_size, (uintmax_t)huge / 1024);
	if (ftruncate(to, st.st_size) < 0)
		return error_set_errno(err, errno, "cannot size %s", name);
	_cleanup_free_ char *buffer = xcalloc(1, copying.piece);
	copying.buffer = buffer;
	return copy_all(&copying, cancelled, err);
}
