#include "factory/images/image_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/instance.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"
#include "factory/cache/image_cache.h"

#define LOCK_FILE "lock"
#define IMAGE     ".erofs"
#define RECORD    ".json"

enum { KEY_DIGITS_MIN = 8 };

DEFINE_CLEANUP(DIR *, closedir)

/* ---------------------------------------------------------------- names */

/* Whether name is KEY and then `tail`; ret_key holds the key. */
static bool is_name(const char *name, const char *tail, char ret_key[static DIGEST_HEX_SIZE])
{
	if (strlen(name) < DIGEST_HEX_SIZE - 1 || !str_equal(name + DIGEST_HEX_SIZE - 1, tail))
		return false;
	memcpy(ret_key, name, DIGEST_HEX_SIZE - 1);
	ret_key[DIGEST_HEX_SIZE - 1] = '\0';
	return image_key_is_valid(ret_key);
}

/* What file_write_atomic() makes while it writes a record: .KEY.json.XXXXXX */
static bool is_half_a_record(const char *name)
{
	return name[0] == '.' && strlen(name) > DIGEST_HEX_SIZE &&
	       str_after(name + DIGEST_HEX_SIZE, RECORD ".");
}

/* ---------------------------------------------------------------- the folder */

/* Images hold what containers run, and a record is believed. */
static int check_owner(const char *dir, struct error *err)
{
	struct stat st;

	if (lstat(dir, &st) < 0)
		return error_set_errno(err, errno, "cannot read %s", dir);
	if (!S_ISDIR(st.st_mode))
		return error_set(err, ENOTDIR, "image_cache %s is no folder", dir);
	if (st.st_uid != geteuid())
		return error_set(err, EPERM,
				 "image_cache %s belongs to the user %u: name a folder of root's",
				 dir, st.st_uid);
	if ((st.st_mode & 077) && chmod(dir, 0700) < 0)
		return error_set_errno(err, errno, "cannot close %s to others", dir);
	return 0;
}

/* False: it stays. */
static bool is_left_over(const char *dir, const char *name)
{
	_cleanup_free_ char *image = NULL, *record = NULL;
	char key[DIGEST_HEX_SIZE];

	if (is_half_a_record(name) || is_name(name, IMAGE_STORE_TEMPORARY, key))
		return true;
	if (!is_name(name, IMAGE, key) && !is_name(name, RECORD, key))
		return false;
	image = image_path(dir, key);
	record = image_record_path(dir, key);
	return !path_exists(image) || !path_exists(record);
}

static int remove_left_overs(const char *dir, struct error *err)
{
	_cleanup_(closedir_cleanup) DIR *folder = opendir(dir);
	struct dirent *entry;

	if (!folder)
		return error_set_errno(err, errno, "cannot read the folder %s", dir);
	while ((entry = readdir(folder))) {
		_cleanup_free_ char *path = path_join(dir, entry->d_name);
		if (!is_left_over(dir, entry->d_name))
			continue;
		log_info(NULL, "removing %s: its image was not finished", path);
		int r = path_remove(path, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int remove_damaged(const char *dir, struct error *err)
{
	_cleanup_(stored_images_done) struct stored_images images = {};
	int r = image_store_list(dir, &images, err);

	for (size_t i = 0; r == 0 && i < images.count; i++) {
		const struct stored_image *image = &images.items[i];
		if (!image->damage || image->in_use)
			continue;
		log_warning(NULL, "removing a damaged image: %s", image->damage);
		r = image_remove(dir, image->record.key, NULL, err);
	}
	return r;
}

int image_store_take(const char *dir, int *ret_lock_fd, struct error *err)
{
	_cleanup_free_ char *mount = path_join(dir, IMAGE_STORE_MOUNT);
	_cleanup_close_ int lock_fd = -EBADF;
	int r = dir_make(dir, 0700, err);

	if (r == 0)
		r = check_owner(dir, err);
	if (r == 0)
		r = instance_lock(dir, LOCK_FILE, "image_cache", getpid(), &lock_fd, err);
	if (r == 0)
		r = dir_make(mount, 0700, err);
	if (r == 0)
		r = remove_left_overs(dir, err);
	if (r == 0)
		r = remove_damaged(dir, err);
	if (r == 0)
		*ret_lock_fd = steal_fd(&lock_fd);
	return r;
}

int image_store_check(const char *dir, int lock_fd, struct error *err)
{
	_cleanup_free_ char *path = path_join(dir, LOCK_FILE);
	struct stat ours, there;

	if (fstat(lock_fd, &ours) == 0 && lstat(path, &there) == 0 && ours.st_dev == there.st_dev &&
	    ours.st_ino == there.st_ino)
		return 0;
	return error_set(err, ESTALE, "image_cache %s was removed or replaced", dir);
}

/* ---------------------------------------------------------------- what is in it */

void stored_images_done(struct stored_images *images)
{
	for (size_t i = 0; i < images->count; i++) {
		image_record_done(&images->items[i].record);
		free(images->items[i].damage);
	}
	free(images->items);
	*images = (struct stored_images){};
}

/* Its size and last use are of the files as they are. */
static void add_image(const char *dir, const char *key, struct stored_images *images)
{
	_cleanup_free_ char *path = image_path(dir, key),
			    *record_path = image_record_path(dir, key);
	_cleanup_(error_done) struct error err = {};
	struct stored_image image = {};
	struct stat file, record;

	if (lstat(path, &file) < 0 || stat(record_path, &record) < 0)
		return; /* removed meanwhile */
	if (image_check(dir, key, &image.record, &err) < 0)
		image.damage = xstrdup(error_message(&err));
	memcpy(image.record.key, key, DIGEST_HEX_SIZE);
	image.record.stamp.size = (uint64_t)file.st_size;
	image.in_use = image_in_use(dir, key);
	image.last_used = (uint64_t)record.st_mtim.tv_sec;
	image.last_used_ns = image.last_used * 1000000000 + (uint64_t)record.st_mtim.tv_nsec;
	images->items = xrealloc_array(images->items, images->count + 1, sizeof(image));
	images->items[images->count++] = image;
	images->bytes += image.record.stamp.size;
}

static int by_use(const void *a, const void *b)
{
	const struct stored_image *left = a, *right = b;

	return (left->last_used_ns > right->last_used_ns) -
	       (left->last_used_ns < right->last_used_ns);
}

int image_store_list(const char *dir, struct stored_images *ret, struct error *err)
{
	_cleanup_(closedir_cleanup) DIR *folder = opendir(dir);
	struct stored_images images = {};
	char key[DIGEST_HEX_SIZE];
	struct dirent *entry;

	if (!folder)
		return error_set_errno(err, errno, "cannot read the folder %s", dir);
	while ((entry = readdir(folder))) {
		if (is_name(entry->d_name, RECORD, key))
			add_image(dir, key, &images);
	}
	if (images.count > 0)
		qsort(images.items, images.count, sizeof(images.items[0]), by_use);
	*ret = images;
	return 0;
}

/* ---------------------------------------------------------------- removing */

int image_store_make_room(const char *dir, const char *key, uint64_t bytes, uint64_t limit,
			  struct error *err)
{
	_cleanup_(stored_images_done) struct stored_images images = {};
	int r = image_store_list(dir, &images, err);
	uint64_t used = 0, held = 0;

	if (r < 0)
		return r;
	for (size_t i = 0; i < images.count; i++) {
		const struct stored_image *image = &images.items[i];
		if (str_equal(image->record.key, key))
			continue;
		used += image->record.stamp.size;
		held += image->in_use ? image->record.stamp.size : 0;
	}
	/* Nothing goes where it would not be enough. */
	for (size_t i = 0; i < images.count && held + bytes <= limit && used + bytes > limit; i++) {
		const struct stored_image *image = &images.items[i];
		if (str_equal(image->record.key, key) ||
		    image_remove(dir, image->record.key, NULL, NULL) < 0)
			continue; /* in use, mostly */
		log_info(NULL, "image %s %s goes, used least recently", image->record.key,
			 image->record.name ?: "");
		used -= image->record.stamp.size;
	}
	if (used + bytes <= limit)
		return 0;
	return error_set(err, ENOSPC,
			 "it has %" PRIu64 " MiB, and the images in use leave less: raise "
			 "image_cache_mib (%" PRIu64 ")",
			 bytes >> 20, limit >> 20);
}

static bool is_meant(const struct image_record *record, const char *key_or_name)
{
	return str_equal(record->name, key_or_name) ||
	       (strlen(key_or_name) >= KEY_DIGITS_MIN && str_after(record->key, key_or_name));
}

static int find(const struct stored_images *images, const char *key_or_name, const char **ret_key,
		struct error *err)
{
	const char *found = NULL;

	for (size_t i = 0; i < images->count; i++) {
		const struct image_record *record = &images->items[i].record;
		if (str_empty(key_or_name) || !is_meant(record, key_or_name))
			continue;
		if (found)
			return error_set(
				err, EBUSY,
				"several images are \"%.256s\": give more of the key of one",
				key_or_name);
		found = record->key;
	}
	if (!found)
		return error_set(err, ENOENT, "no image has the key or name \"%.256s\"",
				 key_or_name);
	*ret_key = found;
	return 0;
}

int image_store_remove(const char *dir, const char *key_or_name, uint64_t *ret_freed,
		       struct error *err)
{
	_cleanup_(stored_images_done) struct stored_images images = {};
	const char *key = NULL;
	int r = image_store_list(dir, &images, err);

	if (r == 0)
		r = find(&images, key_or_name, &key, err);
	return r < 0 ? r : image_remove(dir, key, ret_freed, err);
}

int image_store_prune(const char *dir, uint64_t *ret_freed, uint32_t *ret_count, struct error *err)
{
	_cleanup_(stored_images_done) struct stored_images images = {};
	uint64_t freed = 0, bytes;
	uint32_t count = 0;
	int r = image_store_list(dir, &images, err);

	for (size_t i = 0; r == 0 && i < images.count; i++) {
		bytes = 0;
		r = image_remove(dir, images.items[i].record.key, &bytes, err);
		if (r == -EBUSY || r == -ENOENT) {
			error_done(err);
			r = 0;
			continue;
		}
		freed += bytes;
		count += r == 0;
	}
	*ret_freed = freed;
	*ret_count = count;
	return r;
}
