#include "factory/store/known_digests.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

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

static struct known_digest *find(const struct known_digests *known, const struct input_stamp *stamp)
{
	for (size_t i = 0; i < known->count; i++)
		if (input_stamp_equal(&known->items[i].stamp, stamp))
			return &known->items[i];
	return NULL;
}

static void add(struct known_digests *known, const struct known_digest *item)
{
	if (known->count == KNOWN_DIGESTS_MAX) {
		known->count--;
		memmove(known->items, known->items + 1, known->count * sizeof(*known->items));
	}
	known->items = xrealloc_array(known->items, known->count + 1, sizeof(*known->items));
	known->items[known->count++] = *item;
	known->grown |= item->settled;
}

int known_digests_file(struct known_digests *known, const char *path,
		       char ret_hex[static DIGEST_HEX_SIZE], uint64_t *ret_bytes, struct error *err)
{
	struct known_digest item = {};
	int64_t now = (int64_t)clock_realtime_ns();

	int r = input_stamp_take(path, &item.stamp, err);
	if (r < 0)
		return r;
	const struct known_digest *before = find(known, &item.stamp);
	if (before) {
		memcpy(item.digest, before->digest, sizeof(item.digest));
	} else {
		r = digest_file(path, item.digest, err);
		if (r < 0)
			return r;
		item.settled = now - item.stamp.changed_ns >= SETTLED_NS;
		add(known, &item);
	}
	memcpy(ret_hex, item.digest, sizeof(item.digest));
	*ret_bytes = item.stamp.size;
	return 0;
}

void known_digests_done(struct known_digests *known)
{
	free(known->items);
	*known = (struct known_digests){};
}

/* ---------------------------------------------------------------- in the store */

static int read_one(json_t *object, struct known_digests *known, struct error *err)
{
	struct known_digest item = { .settled = true };
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

void known_digests_load(const char *store, struct known_digests *ret_known)
{
	_cleanup_free_ char *path = digests_path(store);
	_cleanup_(json_decref_cleanup) json_t *object = NULL;
	_cleanup_(error_done) struct error err = {};

	*ret_known = (struct known_digests){};
	if (!path_exists(path))
		return;
	int r = config_load_file(path, &object, &err);
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
		if (known->items[i].settled)
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
	int r = file_write_atomic(path, text, strlen(text), 0644, err);
	if (r == 0)
		known->grown = false;
	return r;
}
