/* The layers of a container as a device of its guest, in a DAX window or on a slot of its machine:
 *
 *   an EROFS snapshotter's    the images of the layers themselves (shim/layer_files.h), in one
 *                             window or on one slot, however many they are. There is no
 *                             other way to them, so the container fails where they cannot be had
 *   folders of an overlay     one image of them all, from the node's cache
 *                             (factory/cache/image_cache.h). Where that has none, the factory
 *                             is asked to make one for the next container, and this container
 *                             does without, if it can: shim/layer_losses.h
 */
#pragma once

#include "base/loop.h"
#include "base/strv.h"
#include "proto/containerd_mount.pb-c.h"
#include "shim/dax_windows.h"
#include "shim/layer_mounts.h"
#include "shim/slots.h"

#define LAYER_IMAGE_NONE (-1)

/* What the guest has of them. `struct layer_image i = LAYER_IMAGE_EMPTY;` is nothing. */
struct layer_image {
	char *window;       /* the guest's device of a DAX window; owned; NULL: in none */
	int slot;           /* or LAYER_IMAGE_NONE */
	struct strv layout; /* of layer_files_layout(); empty: one image, from the first byte on */
	struct strv wanted; /* the layers, where the cache has no image of them yet; else empty */
};

#define LAYER_IMAGE_EMPTY                                                                          \
	{                                                                                          \
		.slot = LAYER_IMAGE_NONE                                                           \
	}

struct layer_image_options {
	struct loop *loop;
	struct dax_windows *windows;       /* of the machine; borrowed */
	struct slots *slots;               /* ditto */
	const char *cache_dir;             /* NULL or "": there is no cache */
	const char *factory_address;       /* borrowed */
	const char *container_id;          /* for the log; borrowed until fn is called */
	const struct layer_mounts *layers; /* what the mounts are of an EROFS snapshotter's */
	Containerd__Types__Mount *const *mounts;
	size_t nmounts;
};

/* Calls fn once, from the loop: with the image in a window, with one on a slot, which is to be
 * given back with slots_release(), with one without either (what kept it off is logged), or with
 * the error for which the container cannot be made. fn owns the image: layer_image_done(). */
typedef void (*layer_image_fn)(struct layer_image *image, const struct error *err, void *userdata);
void layer_image_get(const struct layer_image_options *options, layer_image_fn fn, void *userdata);

void layer_image_done(struct layer_image *image);
