#include "factory/api/service_images.h"

#include <stdlib.h>

#include "base/memory.h"
#include "factory/core/factory.h"
#include "proto/factory.pb-c.h"

/* NULL: there is none, and the call is answered. */
static struct images *images_or_fail(struct ttrpc_call *call, struct factory *factory)
{
	struct images *images = factory_images(factory);

	if (!images)
		ttrpc_call_fail_code(call, TTRPC_FAILED_PRECONDITION,
				     "the factory has no cache of images (image_cache is empty)");
	return images;
}

/* ---------------------------------------------------------------- PrepareImage */

struct preparing {
	struct ttrpc_call *call;
	struct image_wish *wish;
};

static void on_prepared(int number, const char *key, enum image_state state,
			const struct error *err, void *userdata)
{
	Kiln__Factory__V1__PrepareImageResponse response =
		KILN__FACTORY__V1__PREPARE_IMAGE_RESPONSE__INIT;
	_cleanup_free_ struct preparing *preparing = userdata;

	if (number < 0) {
		ttrpc_call_fail(preparing->call, err);
		return;
	}
	response.key = (char *)key;
	response.state = (char *)image_state_to_string(state);
	response.error = (char *)(err ? error_message(err) : "");
	ttrpc_call_reply(preparing->call, &response.base);
}

/* Nobody waits any more; the image is made all the same. */
static void on_prepare_cancelled(struct ttrpc_call *call, void *userdata)
{
	_cleanup_free_ struct preparing *preparing = userdata;

	images_give_up(preparing->wish);
	ttrpc_call_drop(call);
}

void rpc_on_prepare_image(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Kiln__Factory__V1__PrepareImageRequest *request = (const void *)message;
	const struct strv layers = { request->layers, request->n_layers };
	struct images *images = images_or_fail(call, userdata);
	_cleanup_(error_done) struct error err = {};

	if (!images)
		return;
	struct preparing *preparing = xnew(struct preparing);
	preparing->call = call;
	if (images_prepare(images, &layers, request->name, request->wait, on_prepared, preparing,
			   &preparing->wish, &err) < 0) {
		ttrpc_call_fail(call, &err);
		free(preparing);
		return;
	}
	ttrpc_call_on_cancel(call, on_prepare_cancelled, preparing);
}

/* ---------------------------------------------------------------- ListImages */

struct listing {
	struct ttrpc_call *call;
	const struct images *images;
};

static Kiln__Factory__V1__CachedImage *image_row(Kiln__Factory__V1__ListImagesResponse *response)
{
	Kiln__Factory__V1__CachedImage *row = xnew(Kiln__Factory__V1__CachedImage);

	kiln__factory__v1__cached_image__init(row);
	response->images = xrealloc_array(response->images, response->n_images + 1,
					  sizeof(*response->images));
	response->images[response->n_images++] = row;
	return row;
}

/* Its strings are borrowed. */
static void add_stored(const struct stored_image *image,
		       Kiln__Factory__V1__ListImagesResponse *response)
{
	Kiln__Factory__V1__CachedImage *row = image_row(response);
	const struct image_record *record = &image->record;

	row->key = (char *)record->key;
	row->name = record->name ? record->name : (char *)"";
	row->bytes = record->stamp.size;
	row->layers = record->layers.items;
	row->n_layers = record->layers.count;
	row->state = (char *)image_state_to_string(image->damage ? IMAGE_FAILED : IMAGE_READY);
	row->error = image->damage ? image->damage : (char *)"";
	row->in_use = image->in_use;
	row->last_used = image->last_used;
	row->made_at = record->made_at;
	row->digest = (char *)record->digest;
}

static void add_wanted(const struct image_wanted *wanted,
		       Kiln__Factory__V1__ListImagesResponse *response)
{
	Kiln__Factory__V1__CachedImage *row = image_row(response);

	row->key = (char *)wanted->key;
	row->name = (char *)wanted->name;
	row->layers = wanted->layers->items;
	row->n_layers = wanted->layers->count;
	row->state = (char *)image_state_to_string(wanted->state);
	row->error = (char *)wanted->error;
}

static void on_listed(int number, const struct stored_images *found, const struct error *err,
		      void *userdata)
{
	Kiln__Factory__V1__ListImagesResponse response =
		KILN__FACTORY__V1__LIST_IMAGES_RESPONSE__INIT;
	_cleanup_free_ struct listing *listing = userdata;
	struct image_wanted wanted;
	const void *cursor = NULL;

	if (number < 0) {
		ttrpc_call_fail(listing->call, err);
		return;
	}
	for (size_t i = found->count; i > 0; i--)
		add_stored(&found->items[i - 1], &response);
	while (images_next_wanted(listing->images, &cursor, &wanted))
		add_wanted(&wanted, &response);
	ttrpc_call_reply(listing->call, &response.base);
	for (size_t i = 0; i < response.n_images; i++)
		free(response.images[i]);
	free(response.images);
}

void rpc_on_list_images(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
			void *userdata)
{
	struct images *images = images_or_fail(call, userdata);
	_cleanup_(error_done) struct error err = {};

	if (!images)
		return;
	struct listing *listing = xnew(struct listing);
	*listing = (struct listing){ .call = call, .images = images };
	if (images_list(images, on_listed, listing, &err) < 0) {
		ttrpc_call_fail(call, &err);
		free(listing);
	}
}

/* ---------------------------------------------------------------- RemoveImage, PruneImages */

static void on_removed(int number, uint64_t freed, uint32_t count _unused_, const struct error *err,
		       void *userdata)
{
	Kiln__Factory__V1__RemoveImageResponse response =
		KILN__FACTORY__V1__REMOVE_IMAGE_RESPONSE__INIT;

	response.freed = freed;
	if (number == -EBUSY)
		ttrpc_call_fail_code(userdata, TTRPC_FAILED_PRECONDITION, "%s", error_message(err));
	else if (number < 0)
		ttrpc_call_fail(userdata, err);
	else
		ttrpc_call_reply(userdata, &response.base);
}

void rpc_on_remove_image(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Kiln__Factory__V1__RemoveImageRequest *request = (const void *)message;
	struct images *images = images_or_fail(call, userdata);
	_cleanup_(error_done) struct error err = {};

	if (images && images_remove(images, request->image, on_removed, call, &err) < 0)
		ttrpc_call_fail(call, &err);
}

static void on_pruned(int number, uint64_t freed, uint32_t count, const struct error *err,
		      void *userdata)
{
	Kiln__Factory__V1__PruneImagesResponse response =
		KILN__FACTORY__V1__PRUNE_IMAGES_RESPONSE__INIT;

	response.freed = freed;
	response.images = count;
	if (number < 0)
		ttrpc_call_fail(userdata, err);
	else
		ttrpc_call_reply(userdata, &response.base);
}

void rpc_on_prune_images(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
			 void *userdata)
{
	struct images *images = images_or_fail(call, userdata);
	_cleanup_(error_done) struct error err = {};

	if (images && images_remove(images, NULL, on_pruned, call, &err) < 0)
		ttrpc_call_fail(call, &err);
}
