#include "factory/store/carried.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/config.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

#define BYTES_MAX ((uint64_t)64 << 30)

static const struct config_key image_keys[] = {
	CONFIG_STRING_REQUIRED(struct carried_image, name, "name", "what claims call it"),
	CONFIG_STRING_REQUIRED(struct carried_image, file, "file", "EROFS image"),
};

char *carried_path(const char *template_dir, size_t index)
{
	return xasprintf("%s/" CARRIED_FOLDER "/%zu", template_dir, index);
}

static void image_done(struct carried_image *image)
{
	free(image->name);
	free(image->file);
}

void carried_done(struct carried *carried)
{
	for (size_t i = 0; i < carried->count; i++)
		image_done(&carried->items[i]);
	free(carried->items);
	*carried = (struct carried){};
}

void carried_copy(const struct carried *carried, struct carried *ret_copy)
{
	struct carried copy = { .count = carried->count };

	if (copy.count > 0)
		copy.items = xnew_array(struct carried_image, copy.count);
	for (size_t i = 0; i < copy.count; i++) {
		copy.items[i] = carried->items[i];
		copy.items[i].name = xstrdup(carried->items[i].name);
		copy.items[i].file = xstrdup(carried->items[i].file);
	}
	*ret_copy = copy;
}

const struct carried_image *carried_find(const struct carried *carried, const char *name)
{
	for (size_t i = 0; i < carried->count; i++)
		if (str_equal(carried->items[i].name, name))
			return &carried->items[i];
	return NULL;
}

bool carried_has_all(const struct carried *carried, char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!carried_find(carried, names[i]))
			return false;
	return true;
}

bool carried_equal(const struct carried *a, const struct carried *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (!str_equal(a->items[i].name, b->items[i].name) ||
		    !str_equal(a->items[i].digest, b->items[i].digest))
			return false;
	return true;
}

/* ---------------------------------------------------------------- a definition's */

static int check_name(const struct carried *before, const char *name, const char *where,
		      struct error *err)
{
	if (!carried_name_is_valid(name))
		return error_set(err, EINVAL,
				 "the name \"%.128s\" of %s is not 1 to %d of [A-Za-z0-9._/:@+-] "
				 "with a letter or digit first",
				 name, where, CARRIED_NAME_MAX);
	if (carried_find(before, name))
		return error_set(err, EINVAL, "two of the images are named \"%s\"", name);
	return 0;
}

static int check_file(struct carried_image *image, struct error *err)
{
	struct stat st;

	if (stat(image->file, &st) < 0)
		return error_set_errno(err, errno, "image %s: %s", image->name, image->file);
	if (!S_ISREG(st.st_mode) || st.st_size == 0)
		return error_set(err, EINVAL, "image %s: %s is not a file with an image",
				 image->name, image->file);
	if (st.st_size % CARRIED_ALIGN != 0)
		return error_set(
			err, EINVAL,
			"image %s: %s is %jd bytes, not a multiple of 2 MiB as virtio-pmem "
			"needs: run `truncate -s %%2M` on it",
			image->name, image->file, (intmax_t)st.st_size);
	image->bytes = (uint64_t)st.st_size;
	return image->bytes <= BYTES_MAX
		       ? 0
		       : error_set(err, EFBIG, "image %s: %s is larger than 64 GiB", image->name,
				   image->file);
}

static int read_one(const json_t *object, const char *dir, const char *where,
		    struct carried *carried, struct error *err)
{
	struct carried_image *image = &carried->items[carried->count];

	config_set_defaults(image_keys, ARRAY_SIZE(image_keys), image);
	int r = config_read(image_keys, ARRAY_SIZE(image_keys), object, where, image, err);
	if (r == 0)
		r = check_name(carried, image->name, where, err);
	if (r == 0) {
		char *absolute = path_join(dir, image->file);
		free(image->file);
		image->file = absolute;
		r = check_file(image, err);
	}
	carried->count++; /* carried_done() frees what was read */
	return r;
}

int carried_read(const json_t *array, const char *dir, const char *where, struct carried *ret,
		 struct error *err)
{
	_cleanup_(carried_done) struct carried carried = {};
	const json_t *item;
	size_t i;

	if (!array)
		return 0;
	if (!json_is_array(array) || json_array_size(array) > CARRIED_MAX)
		return error_set(err, EINVAL, "images is not an array of at most %d, in %s",
				 CARRIED_MAX, where);
	carried.items = xnew_array(struct carried_image, json_array_size(array) + 1);
	json_array_foreach (array, i, item) {
		_cleanup_free_ char *place = xasprintf("images[%zu] in %s", i, where);
		int r = read_one(item, dir, place, &carried, err);
		if (r < 0)
			return r;
	}
	*ret = carried;
	carried = (struct carried){};
	return 0;
}

/* ---------------------------------------------------------------- read as an input */

int carried_digest(const struct carried *definition, struct known_digests *known,
		   struct carried *ret, struct error *err)
{
	_cleanup_(carried_done) struct carried carried = {};

	carried_copy(definition, &carried);
	for (size_t i = 0; i < carried.count; i++) {
		struct carried_image *image = &carried.items[i];
		if (known_digests_file(known, image->file, image->digest, &image->bytes, err) < 0)
			return error_wrap(err, "image %s", image->name);
		free(steal_ptr(image->file));
	}
	*ret = carried;
	carried = (struct carried){};
	return 0;
}

/* ---------------------------------------------------------------- a manifest's */

static int from_json_one(const json_t *object, struct carried *carried, struct error *err)
{
	const char *name = json_string_value(json_object_get(object, "name"));
	const char *digest = json_string_value(json_object_get(object, "digest"));
	json_int_t bytes = json_integer_value(json_object_get(object, "bytes"));

	if (json_object_size(object) != 3 || !name || !carried_name_is_valid(name) ||
	    carried_find(carried, name))
		return error_set(err, EBADMSG, "images: one has no name of its own");
	if (!digest || !digest_is_valid(digest))
		return error_set(err, EBADMSG, "images: %s has no SHA-256", name);
	if (bytes <= 0 || (uint64_t)bytes > BYTES_MAX || (uint64_t)bytes % CARRIED_ALIGN != 0)
		return error_set(err, EBADMSG, "images: %s has no size that can be", name);
	struct carried_image *image = &carried->items[carried->count++];
	image->name = xstrdup(name);
	memcpy(image->digest, digest, sizeof(image->digest));
	image->bytes = (uint64_t)bytes;
	return 0;
}

int carried_from_json(const json_t *array, struct carried *ret, struct error *err)
{
	_cleanup_(carried_done) struct carried carried = {};
	const json_t *item;
	size_t i;

	if (!json_is_array(array) || json_array_size(array) > CARRIED_MAX)
		return error_set(err, EBADMSG, "images is not an array of at most %d", CARRIED_MAX);
	carried.items = xnew_array(struct carried_image, json_array_size(array) + 1);
	json_array_foreach (array, i, item) {
		int r = from_json_one(item, &carried, err);
		if (r < 0)
			return r;
	}
	*ret = carried;
	carried = (struct carried){};
	return 0;
}

json_t *carried_to_json(const struct carried *carried)
{
	json_t *array = json_array();

	for (size_t i = 0; i < carried->count; i++) {
		const struct carried_image *image = &carried->items[i];
		json_t *object = json_pack("{ss ss sI}", "name", image->name, "digest",
					   image->digest, "bytes", (json_int_t)image->bytes);
		if (!object || json_array_append_new(array, object) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}
