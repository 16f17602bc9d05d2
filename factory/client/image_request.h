#pragma once

#include "base/loop.h"
#include "base/strv.h"

/* Asks the factory for the image of these layers, without waiting for anything: what comes of it
 * is seen by the next image_open() (factory/cache/image_cache.h). A failure is a debug line of the
 * log. factory_address NULL: FACTORY_SOCKET; name, for people, may be NULL. */
void image_request(struct loop *loop, const char *factory_address, const struct strv *layers,
		   const char *name);
