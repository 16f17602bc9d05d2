/* The factory's cache of images (factory/cache/image_cache.h), as the loop sees it: which are
 * wanted, which one is being made, what could not be made, and how much there is.
 *
 *   QUEUED -> MAKING -> in the folder (READY)
 *                    -> FAILED -> (after a while, or where somebody waits for it) QUEUED
 *
 * One image is made at a time, and by one maker however many want it; the queue is bounded. What
 * could not be made is remembered, logged once, and tried again on demand only: after RETRY_MS, or
 * at once for somebody who waits and so is told; one that is too large, not before the limit has
 * changed. Layers that are ready cost a look into the folder.
 *
 * A folder that cannot be used (read-only, another factory's, gone) is an error of status and log;
 * it is taken again at the next wish, not more often than every TAKE_AGAIN_MS. Containers do
 * without images all the while. Everything that blocks is on worker threads of this module's own.
 */
#pragma once

#include "base/loop.h"
#include "base/strings.h"
#include "base/strv.h"
#include "factory/base/metrics.h"
#include "factory/images/image_store.h"

enum image_state { IMAGE_QUEUED, IMAGE_MAKING, IMAGE_READY, IMAGE_FAILED };
DECLARE_STRING_TABLE(image_state, enum image_state); /* "queued", "making", ... */

struct images;
struct image_wish;

/* Blocks: takes the folder, where a failure is the cache's error and not ours. dir is borrowed and
 * lives as long. jailer: who works on the folder (factory/images/image_keeper.h). */
struct jailer;
struct images *images_new(struct loop *loop, const char *dir, struct jailer *jailer,
			  uint64_t limit_bytes, struct metrics *metrics);

/* Ends the maker; wishes are answered -ENOTCONN. */
void images_stop(struct images *images);
void images_free(struct images *images); /* NULL does nothing */

/* What could not be made because it was too large may be tried again. A lower limit counts with
 * the next image, and at the next start. */
void images_set_limit(struct images *images, uint64_t limit_bytes);

/* number 0: the state is QUEUED or MAKING (without `wait` only), or READY, or FAILED as it was
 * remembered, and err says why. Else it could not be begun, or was waited for in vain. key is ""
 * where the layers have none. Once, never from inside images_prepare(). */
typedef void (*image_wish_fn)(int number, const char *key, enum image_state state,
			      const struct error *err, void *userdata);

/* layers and name ("" for none) are copied. -EINVAL: the name or the number of layers; -EAGAIN: too
 * much is under way. */
_must_check_ int images_prepare(struct images *images, const struct strv *layers, const char *name,
				bool wait, image_wish_fn fn, void *userdata,
				struct image_wish **ret_wish, struct error *err);
/* fn is not called any more; the image is made all the same. */
void images_give_up(struct image_wish *wish);

/* What was found in the folder; valid in the callback. Once, from the loop. -EAGAIN: too much is
 * under way, fn is not called. */
typedef void (*images_list_fn)(int number, const struct stored_images *found,
			       const struct error *err, void *userdata);
_must_check_ int images_list(struct images *images, images_list_fn fn, void *userdata,
			     struct error *err);

/* Removes one (key_or_name) or all (NULL) that nobody has open; all: what could not be made is
 * forgotten, too. Called as above. */
typedef void (*images_remove_fn)(int number, uint64_t freed, uint32_t count,
				 const struct error *err, void *userdata);
_must_check_ int images_remove(struct images *images, const char *key_or_name, images_remove_fn fn,
			       void *userdata, struct error *err);

/* An image that is not ready. */
struct image_wanted {
	const char *key, *name;
	const struct strv *layers;
	enum image_state state;
	const char *error; /* of FAILED, else "" */
};
/* All of them: the cursor begins with NULL; false ends it. */
bool images_next_wanted(const struct images *images, const void **cursor,
			struct image_wanted *ret_wanted);

struct images_status {
	const char *dir;
	uint32_t count;
	uint64_t bytes, limit_bytes;
	const char *making; /* name or key; "" for none */
	uint32_t queued;
	const char *error; /* the folder's, else of the last image that could not be made; "" */
};
void images_status(const struct images *images, struct images_status *ret_status);
