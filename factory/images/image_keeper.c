#include "factory/images/image_keeper.h"

#include <string.h>

#include "base/memory.h"
#include "factory/cache/image_cache.h"
#include "factory/jail/jailer_job.h"

static inline void json_decref_cleanup(json_t **json)
{
	json_decref(*json);
}

/* ---------------------------------------------------------------- in kiln-jailer */

static int look_here(const struct image_keeper *keeper, const struct strv *layers,
		     char ret_key[static DIGEST_HEX_SIZE], bool *ret_ready, struct error *err)
{
	uint64_t bytes;
	int fd, r = image_store_check(keeper->dir, keeper->lock_fd, err);

	if (r == 0)
		r = image_key(layers, ret_key, err);
	if (r < 0)
		return r;
	/* Whatever is wrong with it, it is made anew. */
	*ret_ready = image_open(keeper->dir, ret_key, &fd, &bytes, NULL) == 0;
	if (*ret_ready)
		close_fd(fd);
	return 0;
}

static json_t *strings(const struct strv *list)
{
	json_t *array = json_array();

	for (size_t i = 0; i < list->count; i++)
		json_array_append_new(array, json_string(list->items[i]));
	return array;
}

static json_t *serve_list(const struct image_keeper *keeper, struct error *err)
{
	_cleanup_(stored_images_done) struct stored_images images = {};
	json_t *array;

	if (image_store_list(keeper->dir, &images, err) < 0)
		return NULL;
	array = json_array();
	for (size_t i = 0; i < images.count; i++) {
		const struct stored_image *image = &images.items[i];
		const struct image_record *record = &image->record;
		json_array_append_new(
			array, json_pack("{s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:b, s:s*}",
					 "key", record->key, "name", record->name ?: "", "digest",
					 record->digest, "layers", strings(&record->layers),
					 "bytes", (json_int_t)record->stamp.size, "made_at",
					 (json_int_t)record->made_at, "last_used",
					 (json_int_t)image->last_used, "last_used_ns",
					 (json_int_t)image->last_used_ns, "in_use",
					 (int)image->in_use, "damage", image->damage));
	}
	return json_pack("{s:o}", "images", array);
}

static json_t *serve_look(const struct image_keeper *keeper, const struct jailer_request *request,
			  struct error *err)
{
	char key[DIGEST_HEX_SIZE];
	bool ready = false;

	if (look_here(keeper, &request->text, key, &ready, err) < 0)
		return NULL;
	return json_pack("{s:s, s:b}", "key", key, "ready", (int)ready);
}

/* The name, then the layers. */
static json_t *serve_make(const struct image_keeper *keeper, const struct jailer_request *request,
			  int socket, struct error *err)
{
	_cleanup_(strv_done) struct strv layers = {};

	for (size_t i = 1; i < request->text.count; i++)
		strv_add(&layers, request->text.items[i]);
	const struct image_making making = {
		.cache_dir = keeper->dir,
		.key = request->template_id,
		.name = request->text.items[0],
		.layers = &layers,
		.limit_bytes = request->bytes,
		.cancel_fd = socket,
	};
	return image_make(&making, err) < 0 ? NULL : json_object();
}

static json_t *serve_remove(const struct image_keeper *keeper, const struct jailer_request *request,
			    struct error *err)
{
	uint64_t freed = 0;

	if (image_store_remove(keeper->dir, request->text.items[0], &freed, err) < 0)
		return NULL;
	return json_pack("{s:I}", "freed", (json_int_t)freed);
}

static json_t *serve_prune(const struct image_keeper *keeper, struct error *err)
{
	uint64_t freed = 0;
	uint32_t count = 0;

	if (image_store_prune(keeper->dir, &freed, &count, err) < 0)
		return NULL;
	return json_pack("{s:I, s:I}", "freed", (json_int_t)freed, "count", (json_int_t)count);
}

json_t *image_keeper_serve(const struct image_keeper *keeper, const struct jailer_request *request,
			   int socket, struct error *err)
{
	switch ((int)request->verb) {
	case JAILER_IMAGES_LIST:
		return serve_list(keeper, err);
	case JAILER_IMAGE_LOOK:
		return serve_look(keeper, request, err);
	case JAILER_IMAGE_MAKE:
		return serve_make(keeper, request, socket, err);
	case JAILER_IMAGE_REMOVE:
		return serve_remove(keeper, request, err);
	case JAILER_IMAGES_PRUNE:
		return serve_prune(keeper, err);
	default:
		error_set(err, EPROTO, "this is nothing of images");
		return NULL;
	}
}

/* ---------------------------------------------------------------- in the factory */

static int ask(const struct image_keeper *keeper, const struct jailer_request *request,
	       int cancel_fd, json_t **ret_answer, struct error *err)
{
	return jailer_job(keeper->jailer, request, cancel_fd, ret_answer, err);
}

static void read_image(const json_t *json, struct stored_images *images)
{
	struct stored_image image = {};
	const char *key = "", *name = "", *digest = "", *damage = NULL;
	json_int_t bytes = 0, made_at = 0, last_used = 0, last_used_ns = 0;
	json_t *layers = NULL, *layer;
	int in_use = 0;
	size_t i;

	if (json_unpack((json_t *)json, "{s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:b, s?s}", "key",
			&key, "name", &name, "digest", &digest, "layers", &layers, "bytes", &bytes,
			"made_at", &made_at, "last_used", &last_used, "last_used_ns", &last_used_ns,
			"in_use", &in_use, "damage", &damage) < 0 ||
	    !image_key_is_valid(key))
		return;
	memcpy(image.record.key, key, DIGEST_HEX_SIZE);
	image.record.name = xstrdup(name);
	if (digest_is_valid(digest)) /* the record of one that is damaged may have none */
		memcpy(image.record.digest, digest, DIGEST_HEX_SIZE);
	json_array_foreach (layers, i, layer) {
		strv_add(&image.record.layers, json_string_value(layer) ?: "");
	}
	image.record.stamp.size = (uint64_t)bytes;
	image.record.made_at = (uint64_t)made_at;
	image.last_used = (uint64_t)last_used;
	image.last_used_ns = (uint64_t)last_used_ns;
	image.in_use = in_use;
	image.damage = xstrdup(damage);
	images->items = xrealloc_array(images->items, images->count + 1, sizeof(image));
	images->items[images->count++] = image;
	images->bytes += image.record.stamp.size;
}

static int list_there(const struct image_keeper *keeper, struct stored_images *ret,
		      struct error *err)
{
	_cleanup_(json_decref_cleanup) json_t *answer = NULL;
	const struct jailer_request request = { .verb = JAILER_IMAGES_LIST };
	json_t *image;
	size_t i;
	int r = ask(keeper, &request, -1, &answer, err);

	if (r < 0)
		return r;
	*ret = (struct stored_images){};
	json_array_foreach (json_object_get(answer, "images"), i, image) {
		read_image(image, ret);
	}
	return 0;
}

static int look_there(const struct image_keeper *keeper, const struct strv *layers,
		      char ret_key[static DIGEST_HEX_SIZE], bool *ret_ready, struct error *err)
{
	_cleanup_(json_decref_cleanup) json_t *answer = NULL;
	const struct jailer_request request = { .verb = JAILER_IMAGE_LOOK, .text = *layers };
	int r = ask(keeper, &request, -1, &answer, err);
	const char *key = json_string_value(json_object_get(answer, "key"));

	if (r < 0)
		return r;
	if (!key || !image_key_is_valid(key))
		return error_set(err, EPROTO, "kiln-jailer finds no key");
	memcpy(ret_key, key, DIGEST_HEX_SIZE);
	*ret_ready = json_is_true(json_object_get(answer, "ready"));
	return 0;
}

static int make_there(const struct image_keeper *keeper, const struct image_making *making,
		      struct error *err)
{
	_cleanup_(json_decref_cleanup) json_t *answer = NULL;
	struct jailer_request request = { .verb = JAILER_IMAGE_MAKE, .bytes = making->limit_bytes };

	memcpy(request.template_id, making->key, sizeof(request.template_id));
	strv_add(&request.text, making->name);
	strv_add_all(&request.text, making->layers);
	int r = ask(keeper, &request, making->cancel_fd, &answer, err);
	jailer_request_done(&request);
	return r;
}

static int remove_there(const struct image_keeper *keeper, const char *key_or_name,
			uint64_t *ret_freed, struct error *err)
{
	_cleanup_(json_decref_cleanup) json_t *answer = NULL;
	struct jailer_request request = { .verb = JAILER_IMAGE_REMOVE };

	strv_add(&request.text, key_or_name);
	int r = ask(keeper, &request, -1, &answer, err);
	jailer_request_done(&request);
	if (r == 0)
		*ret_freed = (uint64_t)json_integer_value(json_object_get(answer, "freed"));
	return r;
}

static int prune_there(const struct image_keeper *keeper, uint64_t *ret_freed, uint32_t *ret_count,
		       struct error *err)
{
	_cleanup_(json_decref_cleanup) json_t *answer = NULL;
	const struct jailer_request request = { .verb = JAILER_IMAGES_PRUNE };
	int r = ask(keeper, &request, -1, &answer, err);

	if (r < 0)
		return r;
	*ret_freed = (uint64_t)json_integer_value(json_object_get(answer, "freed"));
	*ret_count = (uint32_t)json_integer_value(json_object_get(answer, "count"));
	return 0;
}

/* ---------------------------------------------------------------- either */

void image_keeper_leave(struct image_keeper *keeper)
{
	keeper->ours = false;
	keeper->lock_fd = close_fd(keeper->lock_fd);
}

int image_keeper_take(struct image_keeper *keeper, uint64_t limit_bytes, struct error *err)
{
	const struct jailer_request request = { .verb = JAILER_IMAGES_TAKE, .bytes = limit_bytes };

	image_keeper_leave(keeper);
	int r = keeper->jailer ? jailer_call(keeper->jailer, &request, NULL, 0, NULL, err)
			       : image_store_take(keeper->dir, &keeper->lock_fd, err);
	keeper->ours = r == 0;
	/* What is in use stays, beyond the limit if need be. */
	if (r == 0 && !keeper->jailer)
		(void)!image_store_make_room(keeper->dir, "", 0, limit_bytes, NULL);
	return r;
}

int image_keeper_list(const struct image_keeper *keeper, struct stored_images *ret,
		      struct error *err)
{
	return keeper->jailer ? list_there(keeper, ret, err)
			      : image_store_list(keeper->dir, ret, err);
}

int image_keeper_look(const struct image_keeper *keeper, const struct strv *layers,
		      char ret_key[static DIGEST_HEX_SIZE], bool *ret_ready, struct error *err)
{
	return keeper->jailer ? look_there(keeper, layers, ret_key, ret_ready, err)
			      : look_here(keeper, layers, ret_key, ret_ready, err);
}

int image_keeper_make(const struct image_keeper *keeper, const struct image_making *making,
		      struct error *err)
{
	return keeper->jailer ? make_there(keeper, making, err) : image_make(making, err);
}

int image_keeper_remove(const struct image_keeper *keeper, const char *key_or_name,
			uint64_t *ret_freed, struct error *err)
{
	return keeper->jailer ? remove_there(keeper, key_or_name, ret_freed, err)
			      : image_store_remove(keeper->dir, key_or_name, ret_freed, err);
}

int image_keeper_prune(const struct image_keeper *keeper, uint64_t *ret_freed, uint32_t *ret_count,
		       struct error *err)
{
	return keeper->jailer ? prune_there(keeper, ret_freed, ret_count, err)
			      : image_store_prune(keeper->dir, ret_freed, ret_count, err);
}
