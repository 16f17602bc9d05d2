#include "shim/layer_image.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/trace.h"
#include "factory/vm/image_cache.h"
#include "shim/mount.h"

/* From layer_image_get() to its callback. */
struct getting {
	const char *container_id; /* borrowed */
	layer_image_fn fn;
	void *userdata;
	uint64_t begun_ns; /* trace_begin() */
};

static void getting_end(struct getting *getting, int slot)
{
	getting->fn(slot, getting->userdata);
	free(getting);
}

static void on_none(void *userdata)
{
	getting_end(userdata, LAYER_IMAGE_NONE);
}

static void on_attached(int number, const struct error *err, void *userdata)
{
	struct getting *getting = userdata;

	trace_end(TRACE_SLOT, NULL, getting->begun_ns);
	if (number < 0)
		log_info(getting->container_id, "its layers are read through the share: %s",
			 error_message(err));
	getting_end(getting, number < 0 ? LAYER_IMAGE_NONE : number);
}

/* The layers of an overlay, which do not change. Folders of any other mount may, and so may an
 * upper one, where something was written before. */
static bool find_layers(const struct layer_image_options *options, struct strv *layers)
{
	bool has_upper;

	if (options->nmounts != 1 || !str_equal(options->mounts[0]->type, "overlay"))
		return false;
	const Containerd__Types__Mount *mount = options->mounts[0];
	const struct mount_spec spec = { mount->type, mount->source, mount->options,
					 mount->n_options };
	mount_layers_of(&spec, layers, &has_upper);
	return layers->count > 0 && !has_upper;
}

/* -ENOENT: the cache has none, and the factory was asked for it. */
static int open_image(const struct layer_image_options *options, char key[static DIGEST_HEX_SIZE],
		      int *ret_fd, struct error *err)
{
	_cleanup_(strv_done) struct strv layers = {};
	uint64_t bytes;

	if (str_empty(options->cache_dir))
		return error_set(err, EOPNOTSUPP, "there is no cache of images");
	if (!find_layers(options, &layers))
		return error_set(err, EOPNOTSUPP, "they are no layers of an image");
	int r = image_key(&layers, key, err);
	if (r == 0)
		r = image_open(options->cache_dir, key, ret_fd, &bytes, err);
	if (r == -ENOENT || r == -EBADMSG)
		image_request(options->loop, options->factory_address, &layers, NULL);
	return r;
}

void layer_image_get(const struct layer_image_options *options, layer_image_fn fn, void *userdata)
{
	struct getting *getting = xnew(struct getting);
	_cleanup_(error_done) struct error err = {};
	char key[DIGEST_HEX_SIZE];
	int fd = -EBADF;

	*getting = (struct getting){ options->container_id, fn, userdata, trace_begin() };
	if (open_image(options, key, &fd, &err) == 0) {
		slots_attach(options->slots, key, fd, on_attached, getting);
		return;
	}
	log_info(options->container_id, "its layers are read through the share: %s",
		 error_message(&err));
	loop_defer(options->loop, on_none, getting);
}
