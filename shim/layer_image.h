/* The image of a container's layers, on a slot of its machine: from the node's cache
 * (factory/vm/image_cache.h), where it has one. Where it has none, the factory is asked to make it
 * for the next one, and this container does without: nobody waits. */
#pragma once

#include "base/loop.h"
#include "proto/containerd_mount.pb-c.h"
#include "shim/slots.h"

#define LAYER_IMAGE_NONE (-1)

struct layer_image_options {
	struct loop *loop;
	struct slots *slots;         /* of the machine; borrowed */
	const char *cache_dir;       /* NULL or "": there is no cache */
	const char *factory_address; /* borrowed */
	const char *container_id;    /* for the log; borrowed until fn is called */
	Containerd__Types__Mount *const *mounts;
	size_t nmounts;
};

/* Calls fn once, from the loop: the number of a slot, which is to be given back with
 * slots_release(), or LAYER_IMAGE_NONE. What kept the image off a slot is logged. */
typedef void (*layer_image_fn)(int slot, void *userdata);
void layer_image_get(const struct layer_image_options *options, layer_image_fn fn, void *userdata);
