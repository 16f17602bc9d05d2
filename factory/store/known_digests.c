#include "factory/store/known_digests.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/file.h"
#include "base/format.h"
#include "base/log.h"
#include "base/memory.h"

#define SETTLED_NS ((int64_t)2 * 1000000000) /* longer than any file system's grain */

DEFINE_CLEANUP(json_t *, json_decref)

static char *digests_path(const char *store)
{
	return path_join(store, "digests.json");
}

/* ---------------------------------------------------------------- what is known */

static void drop(struct known_digests *known, size_t at)
{
	known->count--;
	memmove(known->items + at, known->items + at + 1,
		(known->count - at) * sizeof(*known->items));
}

/* In place of what was known of the same file before. */
static void add(struct known_digests *known, const struct known_digest *item)
{
	for (size_t i = 0; i < known->count; i++) {
		const struct input_stamp *stamp = &known->items[i].stamp;
		if (stamp->device == item->stamp.device && stamp->inode == item->stamp.inode) {
			drop(known, i);
			break;
		}
	}
	if (known->count == KNOWN_DIGESTS_MAX)
		drop(known, 0);
	known->items = xrealloc_array(known->items, known->count + 1, sizeof(*known->items));
	known->items[known->count++] = *item;
	known->grown |= item->storable;
}

static bool is_settled(const struct input_stamp *stamp)
{
	return (int64_t)clock_realtime_ns() - stamp->changed_ns >= SETTLED_NS;
}

/* What can be believed of the file, which is the last one now. */
static const struct known_digest *find(struct known_digests *known, const struct input_stamp *stamp)
{
	for (size_t i = 0; i < known->count; i++) {
		struct known_digest item = known->items[i];
		if (!input_stamp_equal(&item.stamp, stamp))
			continue;
		if (!item.settled && is_settled(stamp))
			return NULL;
		drop(known, i);
		known->items[known->count++] = item;
		return &known->items[known->count - 1];
	}
	return NULL;
}

void known_digests_done(struct known_digests *known)
{
	free(known->items);
	*known = (struct known_digests){};
}

/* ---------------------------------------------------------------- reading a file */

/* Others have the times that whoever made them, or a server, says; an overlay those of what is
 * below it, whatever that is. */
static bool keeps_change_time(int fd)
{
	static const unsigned long kinds[] = {
		EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, TMPFS_MAGIC, F2FS_SUPER_MAGIC,
	};
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0 || fs.f_flags & ST_RDONLY)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if ((unsigned long)fs.f_type == kinds[i])
			return true;
	return false;
}

static int take_stamp(int fd, const char *path, struct input_stamp *ret_stamp, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_set_errno(err, errno, "cannot look at %s", path);
	*ret_stamp = input_stamp_of(&st);
	return 0;
}

/* Whether it is what was read, or was written to meanwhile, is in ret_whole. */
static int read_file(const char *path, struct known_digest *ret_item, bool *ret_whole,
		     struct error *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	struct known_digest item = {};
	struct input_stamp after;

	if (fd < 0)
		return error_set_errno(err, errno, "cannot open %s", path);
	int r = take_stamp(fd, path, &item.stamp, err);
	item.settled = is_settled(&item.stamp);
	item.storable = item.settled && keeps_change_time(fd);
	if (r == 0)
		r = digest_fd(fd, path, item.digest, err);
	if (r == 0)
		r = take_stamp(fd, path, &after, err);
	if (r < 0)
		return r;
	*ret_whole = input_stamp_equal(&item.stamp, &after);
	*ret_item = item;
	return 0;
}

int known_digests_file(struct known_digests *known, const char *path,
		       char ret_hex[static DIGEST_HEX_SIZE], uint64_t *ret_bytes, struct error *err)
{
	struct known_digest item;
	bool whole = false;

	int r = input_stamp_take(path, &item.stamp, err);
	if (r < 0)
		return r;
	const struct known_digest *before = find(known, &item.stamp);
	if (before) {
		item = *before;
	} else {
		r = read_file(path, &item, &whole, err);
		if (r < 0)
			return r;
		if (whole)
			add(known, &item);
	}
	memcpy(ret_hex, item.digest, sizeof(item.digest));
	*ret_bytes = item.stamp.size;
	return 0;
}

/* ---------------------------------------------------------------- in the store */

static int read_one(json_t *object, struct known_digests *known, struct error *err)
{
	struct known_digest item = { .settled = true, .storable = true };
	json_int_t device, inode, size, modified, changed;
	json_error_t why;
	const char *digest;

	if (json_unpack_ex(object, &why, 0, "{s:I, s:I, s:I, s:I, s:I, s:s}", "device", &device,
			   "inode", &inode, "size", &size, "modified_ns", &modified, "changed_ns",
			   &changed, "sha256", &digest) < 0)
		return error_set(err, EBADMSG, "%s", why.text);
	if (!digest_is_valid(digest))
		return error_set(err, EBADMSG, "sha256 is no digest");
	item.stamp = (struct input_stamp){ .device = (uint64_t)device,
					   .inode = (uint64_t)inode,
					   .size = (uint64_t)size,
					   .modified_ns = modified,
					   .changed_ns = changed };
	memcpy(item.digest, digest, sizeof(item.digest));
	add(known, &item);
	return 0;
}

static int read_all(json_t *object, struct known_digests *known, struct error *err)
{
	const json_t *files = json_object_get(object, "files");
	int r = format_check_object(FORMAT_DIGESTS, object, "version", true, err);

	if (r == 0 && !json_is_array(files))
		r = error_set(err, EBADMSG, "files is no array");
	for (size_t i = 0; r == 0 && i < json_array_size(files); i++)
		r = read_one(json_array_get(files, i), known, err);
	return r;
}

static int check_owner(const char *path, struct error *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return error_set_errno(err, errno, "cannot look at it");
	if (!S_ISREG(st.st_mode) || (st.st_uid != 0 && st.st_uid != geteuid()) || st.st_mode & 022)
		return error_set(err, EPERM, "others may have written it");
	return 0;
}

void known_digests_load(const char *store, struct known_digests *ret_known)
{
	_cleanup_free_ char *path = digests_path(store);
	_cleanup_(json_decref_cleanup) json_t *object = NULL;
	_cleanup_(error_done) struct error err = {};

	*ret_known = (struct known_digests){};
	if (!path_exists(path))
		return;
	int r = check_owner(path, &err);
	if (r == 0)
		r = config_load_file(path, &object, &err);
	if (r == 0)
		r = read_all(object, ret_known, &err);
	if (r < 0) {
		log_warning(NULL, "all inputs of templates are read again: %s: %s", path,
			    error_message(&err));
		known_digests_done(ret_known);
	}
	ret_known->grown = false;
}

static json_t *one_to_json(const struct known_digest *item)
{
	const struct input_stamp *stamp = &item->stamp;

	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:s}", "device", (json_int_t)stamp->device,
			 "inode", (json_int_t)stamp->inode, "size", (json_int_t)stamp->size,
			 "modified_ns", (json_int_t)stamp->modified_ns, "changed_ns",
			 (json_int_t)stamp->changed_ns, "sha256", item->digest);
}

static json_t *to_json(const struct known_digests *known)
{
	json_t *files = json_array();

	for (size_t i = 0; i < known->count; i++)
		if (known->items[i].storable)
			json_array_append_new(files, one_to_json(&known->items[i]));
	return json_pack("{s:o}", "files", files);
}

int known_digests_store(struct known_digests *known, const char *store, struct error *err)
{
	_cleanup_free_ char *path = digests_path(store);

	if (!known->grown)
		return 0;
	_cleanup_(json_decref_cleanup) json_t *object = to_json(known);
	_cleanup_free_ char *text = json_dumps(object, JSON_INDENT(1));
	if (!text)
		return error_set(err, ENOMEM, "no memory for %s", path);
	int r = file_write_atomic(path, text, strlen(text), 0644, err);
	if (r == 0)
		known->grown = false;
	return r;
}

void known_digests_forget(const char *store)
{
	_cleanup_free_ char *path = digests_path(store);

	if (unlink(path) < 0 && errno != ENOENT)
		log_warning(NULL, "cannot remove %s: %s", path, strerror(errno));
}
