/* What files of a container's layers lose where the guest reads them through the share, while there
 * is no image of them: capabilities, and owners that the machine has no number for. A container
 * whose layers have such a file waits until the factory has made their image; others do not. */
#pragma once

#include <stdbool.h>

#include "base/loop.h"
#include "base/strv.h"

/* The first such file, in words, or NULL: there is none. It looks at each file, so it blocks. The
 * caller frees. */
char *layer_losses_find(const struct strv *layers);

/* Looks, on a thread, and waits for the image where there is something to lose; an image that
 * cannot be had is a warning in the log. layers are copied, factory_address and container_id
 * borrowed until fn is called: once, from the loop. was_made: there is an image now. */
typedef void (*layer_losses_fn)(bool was_made, void *userdata);
void layer_losses_avoid(struct loop *loop, const char *factory_address, const char *container_id,
			const struct strv *layers, layer_losses_fn fn, void *userdata);
