#include "factory/cache/image_cache.h"

#include <endian.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "factory/cache/image_record.h"

enum {
	SUPERBLOCK_OFFSET = 1024,
	EROFS_MAGIC = 0xe0f5e1e2,
	BLOCK = 4096,
};

/* In every key: what images are made by and how. Another way of making them is another number. */
#define KEY_VERSION "kiln image 1"

/* ---------------------------------------------------------------- the key */

static void add_number(struct digest *d, uint64_t number)
{
	uint64_t bytes = htole64(number);

	digest_add(d, &bytes, sizeof(bytes));
}

static int add_layer(struct digest *d, const char *path, int fd, struct error *err)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_TYPE | STATX_INO | STATX_BTIME,
		  &st) < 0)
		return error_set_errno(err, errno, "layer %s", path);
	if (!S_ISDIR(st.stx_mode))
		return error_set(err, EINVAL, "layer %s is no folder", path);
	if (!(st.stx_mask & STATX_BTIME))
		return error_set(err, EOPNOTSUPP,
				 "layer %s is on a file system without times of birth", path);
	add_number(d, (uint64_t)st.stx_dev_major << 32 | st.stx_dev_minor);
	add_number(d, st.stx_ino);
	add_number(d, (uint64_t)st.stx_btime.tv_sec);
	add_number(d, st.stx_btime.tv_nsec);
	return 0;
}

static int check_count(const struct strv *layers, struct error *err)
{
	if (layers->count > 0 && layers->count <= IMAGE_LAYERS_MAX)
		return 0;
	return error_set(err, EINVAL, "an image has 1 to %d layers, not %zu", IMAGE_LAYERS_MAX,
			 layers->count);
}

static struct digest *key_begin(const struct strv *layers)
{
	struct digest *d = digest_new();

	digest_add_string(d, KEY_VERSION);
	add_number(d, layers->count);
	return d;
}

int image_key_of(const struct strv *layers, const int *fds, char ret_key[static DIGEST_HEX_SIZE],
		 struct error *err)
{
	_cleanup_(digest_free_cleanup) struct digest *d = key_begin(layers);
	int r = check_count(layers, err);

	for (size_t i = 0; r == 0 && i < layers->count; i++)
		r = add_layer(d, layers->items[i], fds[i], err);
	if (r == 0)
		digest_finish(d, ret_key);
	return r;
}

static int add_path(struct digest *d, const char *path, struct error *err)
{
	_cleanup_close_ int fd = -EBADF;

	if (path[0] != '/')
		return error_set(err, EINVAL, "layer \"%s\" is no absolute path", path);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOTDIR ? error_set(err, EINVAL, "layer %s is no folder", path)
					: error_set_errno(err, errno, "layer %s", path);
	return add_layer(d, path, fd, err);
}

int image_key(const struct strv *layers, char ret_key[static DIGEST_HEX_SIZE], struct error *err)
{
	_cleanup_(digest_free_cleanup) struct digest *d = key_begin(layers);
	int r = check_count(layers, err);

	for (size_t i = 0; r == 0 && i < layers->count; i++)
		r = add_path(d, layers->items[i], err);
	if (r == 0)
		digest_finish(d, ret_key);
	return r;
}

/* ---------------------------------------------------------------- one image */

/* -EAGAIN: the other kind of lock is held. */
static int take_lock(int fd, short type)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_len = 1 };

	return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

static int open_image(const char *cache_dir, const char *key, int flags, int *ret_fd,
		      struct error *err)
{
	_cleanup_free_ char *path = image_path(cache_dir, key);
	int fd = open(path, flags | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0)
		return error_set_errno(err, errno, "cannot open %s", path);
	*ret_fd = fd;
	return 0;
}

/* Of an image that is locked: what is in its place now does not matter. */
static int check_image(int fd, const struct image_record *record, struct error *err)
{
	struct input_stamp is;
	uint32_t magic = 0;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_set_errno(err, errno, "cannot ask for its size");
	if (!S_ISREG(st.st_mode))
		return error_set(err, EBADMSG, "it is no file");
	is = input_stamp_of(&st);
	is.device = record->stamp.device;
	is.changed_ns = record->stamp.changed_ns;
	if (is.size != record->stamp.size)
		return error_set(err, EBADMSG, "it has %llu bytes, not the %llu that were made",
				 (unsigned long long)is.size,
				 (unsigned long long)record->stamp.size);
	if (!input_stamp_equal(&is, &record->stamp))
		return error_set(err, EBADMSG, "it was changed or put there since it was made");
	if (pread(fd, &magic, sizeof(magic), SUPERBLOCK_OFFSET) != sizeof(magic) ||
	    le32toh(magic) != (uint32_t)EROFS_MAGIC || is.size % BLOCK != 0)
		return error_set(err, EBADMSG, "it is no EROFS image");
	return 0;
}

/* Opens the image and checks it by its record; locked where a lock is wanted. */
static int open_checked(const char *cache_dir, const char *key, bool lock,
			const struct image_record *record, int *ret_fd, struct error *err)
{
	_cleanup_close_ int fd = -EBADF;
	int r = open_image(cache_dir, key, O_RDONLY, &fd, err);

	if (r == -ELOOP)
		return error_set(err, EBADMSG, "image %s is a symbolic link", key);
	if (r < 0)
		return r;
	if (lock && take_lock(fd, F_RDLCK) < 0)
		return error_set(err, ENOENT, "image %s is being removed", key);
	r = check_image(fd, record, err);
	if (r < 0)
		return error_wrap(err, "image %s/%s.erofs", cache_dir, key);
	*ret_fd = steal_fd(&fd);
	return 0;
}

int image_open(const char *cache_dir, const char *key, int *ret_fd, uint64_t *ret_bytes,
	       struct error *err)
{
	_cleanup_free_ char *record_path = image_record_path(cache_dir, key);
	_cleanup_(image_record_done) struct image_record record = {};
	int r = image_record_load(cache_dir, key, &record, err);

	if (r == 0)
		r = open_checked(cache_dir, key, true, &record, ret_fd, err);
	if (r < 0)
		return r;
	/* On a read-only file system it cannot be noted, and nothing is removed there either. */
	(void)utimensat(AT_FDCWD, record_path, NULL, 0);
	*ret_bytes = record.stamp.size;
	return 0;
}

int image_check(const char *cache_dir, const char *key, struct image_record *ret_record,
		struct error *err)
{
	_cleanup_(image_record_done) struct image_record record = {};
	_cleanup_close_ int fd = -EBADF;
	int r = image_record_load(cache_dir, key, &record, err);

	if (r < 0)
		return r;
	r = open_checked(cache_dir, key, false, &record, &fd, err);
	if (ret_record) {
		*ret_record = record;
		record = (struct image_record){};
	}
	return r;
}

bool image_in_use(const char *cache_dir, const char *key)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };
	_cleanup_close_ int fd = -EBADF;

	return open_image(cache_dir, key, O_RDONLY, &fd, NULL) == 0 &&
	       fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static int remove_one(const char *path, struct error *err)
{
	if (unlink(path) < 0 && errno != ENOENT)
		return error_set_errno(err, errno, "cannot remove %s", path);
	return 0;
}

int image_remove(const char *cache_dir, const char *key, uint64_t *ret_bytes, struct error *err)
{
	_cleanup_free_ char *path = image_path(cache_dir, key);
	_cleanup_free_ char *record = image_record_path(cache_dir, key);
	_cleanup_close_ int fd = -EBADF;
	struct stat st = {};
	int r = open_image(cache_dir, key, O_RDWR, &fd, err);

	if (r == -ELOOP) {
		error_done(err); /* what stands in its place holds nothing */
		r = 0;
	}
	if (r < 0 && r != -ENOENT)
		return r;
	if (fd >= 0 && take_lock(fd, F_WRLCK) < 0)
		return error_set(err, EBUSY, "image %s is in use", key);
	if (fd >= 0)
		(void)fstat(fd, &st);
	/* First the record, without which there is no image. */
	int left = remove_one(record, err);
	if (left == 0)
		left = remove_one(path, err);
	if (left < 0 || r < 0)
		return left < 0 ? left : r;
	if (ret_bytes)
		*ret_bytes = (uint64_t)st.st_size;
	return 0;
}
