/* Asking the factory for an image of the node's cache (factory/cache/image_cache.h). */
#pragma once

#include "base/loop.h"
#include "base/strv.h"

/* Asks the factory for the image of these layers, without waiting for anything: what comes of it
 * is seen by the next image_open(). A failure is a debug line of the log. factory_address NULL:
 * FACTORY_SOCKET; name, for people, may be NULL. */
void image_request(struct loop *loop, const char *factory_address, const struct strv *layers,
		   const char *name);

/* Has the factory make the image, and waits for it: fn is called once, from the loop and never from
 * inside, when it is there (err->number is 0) or cannot be had within IMAGE_WAIT_MS, with the
 * reason. */
enum { IMAGE_WAIT_MS = 60 * 1000 };
typedef void (*image_wait_fn)(const struct error *err, void *userdata);
void image_wait(struct loop *loop, const char *factory_address, const struct strv *layers,
		image_wait_fn fn, void *userdata);
