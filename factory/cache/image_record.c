#include "factory/cache/image_record.h"

#include <jansson.h>
#include <string.h>

#include "base/config.h"
#include "base/file.h"
#include "base/format.h"
#include "base/memory.h"
#include "base/strings.h"

enum { RECORD_MAX = 4 << 20 };

/* The scalars of KEY.json as they stand there; layers are taken out before. */
struct record_file {
	char *key;
	char *name;
	uint64_t bytes;
	char *digest;
	uint64_t made_at;
	uint64_t inode;
	uint64_t changed_ns;
};

#define STRING(field, help) CONFIG_STRING_REQUIRED(struct record_file, field, #field, help)
#define UINT(field, min_, max_, help_)                                                             \
	{                                                                                          \
		.name = #field, .type = CONFIG_TYPE_UINT,                                          \
		.offset = offsetof(struct record_file, field), .min = (min_), .max = (max_),       \
		.required = true, .help = (help_)                                                  \
	}

static const struct config_key record_keys[] = {
	STRING(key, "digest over what the layers' folders are"),
	STRING(name, "that was given, or empty"),
	UINT(bytes, 1, INT64_MAX, "size of the image"),
	STRING(digest, "SHA-256 of the image"),
	UINT(made_at, 0, INT64_MAX, "seconds since the epoch"),
	UINT(inode, 0, INT64_MAX, "of the image"),
	/* The stamp's modified_ns: a change of the content. */
	UINT(changed_ns, 0, INT64_MAX, "the image's time of change, since the epoch"),
};

DEFINE_CLEANUP(json_t *, json_decref)

bool image_key_is_valid(const char *key)
{
	return digest_is_valid(key);
}

bool image_name_is_valid(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len > IMAGE_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (name[i] <= ' ' || name[i] > '~')
			return false;
	return true;
}

char *image_path(const char *cache_dir, const char *key)
{
	return xasprintf("%s/%s.erofs", cache_dir, key);
}

char *image_record_path(const char *cache_dir, const char *key)
{
	return xasprintf("%s/%s.json", cache_dir, key);
}

void image_record_done(struct image_record *record)
{
	free(record->name);
	strv_done(&record->layers);
	*record = (struct image_record){};
}

/* ---------------------------------------------------------------- reading */

static int read_layers(const json_t *array, const char *where, struct strv *layers,
		       struct error *err)
{
	size_t count = json_array_size(array);

	if (count == 0 || count > IMAGE_LAYERS_MAX)
		return error_set(err, EBADMSG, "%s: layers must be 1 to %d paths", where,
				 IMAGE_LAYERS_MAX);
	for (size_t i = 0; i < count; i++) {
		const char *path = json_string_value(json_array_get(array, i));
		if (!path || path[0] != '/')
			return error_set(err, EBADMSG, "%s: layer %zu is no absolute path", where,
					 i);
		strv_add(layers, path);
	}
	return 0;
}

static int take_scalars(const struct record_file *file, const char *where,
			struct image_record *record, struct error *err)
{
	if (!image_key_is_valid(file->key) || !digest_is_valid(file->digest))
		return error_set(err, EBADMSG, "%s: key and digest must be 64 hex digits", where);
	if (*file->name && !image_name_is_valid(file->name))
		return error_set(err, EBADMSG, "%s: the name is not printable ASCII", where);
	memcpy(record->key, file->key, sizeof(record->key));
	memcpy(record->digest, file->digest, sizeof(record->digest));
	record->name = xstrdup(file->name);
	record->made_at = file->made_at;
	record->stamp = (struct input_stamp){ .inode = file->inode,
					      .size = file->bytes,
					      .modified_ns = (int64_t)file->changed_ns };
	return 0;
}

static int read_object(json_t *object, const char *where, struct image_record *record,
		       struct error *err)
{
	struct record_file file = {};
	int r = read_layers(json_object_get(object, "layers"), where, &record->layers, err);

	if (r < 0)
		return r;
	r = format_check_object(FORMAT_IMAGE, object, "format", false, err);
	if (r < 0)
		error_wrap(err, "%s", where);
	else
		r = config_read_known(record_keys, ARRAY_SIZE(record_keys), object, where, &file,
				      err);
	if (r < 0 && err)
		err->number = EBADMSG;
	r = r < 0 ? -EBADMSG : take_scalars(&file, where, record, err);
	config_done(record_keys, ARRAY_SIZE(record_keys), &file);
	return r;
}

int image_record_parse(const char *text, size_t len, const char *where, struct image_record *ret,
		       struct error *err)
{
	struct image_record record = {};
	_cleanup_(json_decref_cleanup)
		json_t *object = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);

	if (!json_is_object(object))
		return error_set(err, EBADMSG, "%s is no JSON object", where);
	int r = read_object(object, where, &record, err);
	if (r < 0) {
		image_record_done(&record);
		return r;
	}
	*ret = record;
	return 0;
}

int image_record_load(const char *cache_dir, const char *key, struct image_record *ret,
		      struct error *err)
{
	_cleanup_free_ char *path = image_record_path(cache_dir, key), *text = NULL;
	struct image_record record = {};
	size_t len;
	int r = file_read(path, RECORD_MAX, &text, &len, err);

	if (r == -EFBIG)
		return error_set(err, EBADMSG, "%s is larger than a record can be", path);
	if (r == 0)
		r = image_record_parse(text, len, path, &record, err);
	if (r < 0)
		return r;
	if (!str_equal(record.key, key)) {
		image_record_done(&record);
		return error_set(err, EBADMSG, "%s is of another image", path);
	}
	*ret = record;
	return 0;
}

/* ---------------------------------------------------------------- writing */

static json_t *layers_to_json(const struct strv *layers)
{
	json_t *array = json_array();

	for (size_t i = 0; i < layers->count; i++)
		json_array_append_new(array, json_string(layers->items[i]));
	return array;
}

int image_record_write(const char *cache_dir, const struct image_record *record, struct error *err)
{
	_cleanup_free_ char *path = image_record_path(cache_dir, record->key);
	_cleanup_(json_decref_cleanup) json_t *object = json_pack(
		"{s:i, s:s, s:s, s:I, s:s, s:I, s:I, s:I, s:o}", "format",
		(int)format_versions[FORMAT_IMAGE].version, "key", record->key, "name",
		record->name ?: "", "bytes", (json_int_t)record->stamp.size, "digest",
		record->digest, "made_at", (json_int_t)record->made_at, "inode",
		(json_int_t)record->stamp.inode, "changed_ns",
		(json_int_t)record->stamp.modified_ns, "layers", layers_to_json(&record->layers));
	_cleanup_free_ char *text = object ? json_dumps(object, JSON_INDENT(1)) : NULL;

	if (!text || json_array_size(json_object_get(object, "layers")) != record->layers.count)
		return error_set(err, EINVAL, "a path of its layers is not UTF-8 text");
	return file_write_atomic(path, text, strlen(text), 0600, err);
}
