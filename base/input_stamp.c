#include "base/input_stamp.h"

bool input_stamp_equal(const struct input_stamp *a, const struct input_stamp *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size &&
	       a->modified_ns == b->modified_ns && a->changed_ns == b->changed_ns;
}

static int64_t nanoseconds(const struct timespec *time)
{
	return (int64_t)((uint64_t)time->tv_sec * 1000000000 + (uint64_t)time->tv_nsec);
}

struct input_stamp input_stamp_of(const struct stat *st)
{
	return (struct input_stamp){
		.device = st->st_dev,
		.inode = st->st_ino,
		.size = (uint64_t)st->st_size,
		.modified_ns = nanoseconds(&st->st_mtim),
		.changed_ns = nanoseconds(&st->st_ctim),
	};
}

int input_stamp_take(const char *path, struct input_stamp *ret_stamp, struct error *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return error_set_errno(err, errno, "%s", path);
	*ret_stamp = input_stamp_of(&st);
	return 0;
}
