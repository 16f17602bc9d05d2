#include "shim/layer_image.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/trace.h"
#include "factory/cache/image_cache.h"
#include "factory/client/image_request.h"
#include "factory/guest/dax_window.h"
#include "shim/layer_files.h"
#include "shim/layer_mounts.h"
#include "shim/mount.h"

enum { SECTOR = 512 };

/* From layer_image_get() to its callback. */
struct getting {
	const char *container_id; /* borrowed */
	layer_image_fn fn;
	void *userdata;
	const struct dax_windows *windows; /* borrowed */
	struct layer_image image;          /* what fn is given */
	struct error error;                /* ditto */
	struct trace_span span;
};

static void getting_end(void *userdata)
{
	struct getting *getting = userdata;

	getting->fn(&getting->image, &getting->error, getting->userdata);
	error_done(&getting->error);
	free(getting);
}

static void log_share(const struct getting *getting, const struct error *err)
{
	log_info(getting->container_id, "its layers are read through the share: %s",
		 error_message(err));
}

/* ---------------------------------------------------------------- images of layers */

static void set_layers_error(struct getting *getting, int number, const struct error *err)
{
	(void)error_set(&getting->error, -number,
			"the images of its layers cannot be given to the machine: %s",
			error_message(err));
}

/* In a pod of many images; -EBUSY: a machine's slots do not become more while it runs. */
static void on_layers_on_slot(int number, const struct error *err, void *userdata)
{
	struct getting *getting = userdata;

	trace_end(TRACE_SLOT, NULL, &getting->span);
	if (number < 0)
		set_layers_error(getting, number, err);
	else
		getting->image.slot = number;
	getting_end(getting);
}

static void on_layers_in_window(int number, const struct error *err, void *userdata)
{
	struct getting *getting = userdata;

	trace_end(TRACE_SLOT, NULL, &getting->span);
	if (number < 0)
		set_layers_error(getting, number, err);
	else
		getting->image.window = dax_windows_device(getting->windows, (size_t)number);
	getting_end(getting);
}

/* What a folder of the host holds cannot be beside layers that the guest alone mounts. */
static int check_written(const struct layer_mounts *mounts, struct error *err)
{
	if (mounts->upper && !mount_folder_is_empty(mounts->upper))
		return error_set(
			err, EOPNOTSUPP,
			"%s has what was written by another runtime, which cannot be shown "
			"above images of layers",
			mounts->upper);
	return 0;
}

/* A window's memory is in the guest by pages. */
static int attach_layers(struct getting *getting, const struct layer_image_options *options,
			 struct error *err)
{
	_cleanup_(layer_files_done) struct layer_files files = {};
	struct strv *layout = &getting->image.layout;
	int r = check_written(options->layers, err);

	if (r == 0)
		r = layer_files_open(options->layers, &files, err);
	if (r < 0)
		return r;
	log_info(getting->container_id, "%zu layers, of %zu images", files.nlayers, files.count);
	for (size_t i = 0; i < options->layers->count; i++)
		log_debug(getting->container_id, "layer %zu: %s", i,
			  options->layers->items[i].path);
	if (files.has_pages && dax_windows_attach(options->windows, files.key, files.items,
						  files.count, on_layers_in_window, getting)) {
		layer_files_layout(&files, DAX_WINDOW_UNIT, layout);
		return 0;
	}
	if (!files.has_pages)
		log_warning(getting->container_id,
			    "an image of its layers has no blocks of %d bytes: the guest's kernel "
			    "has to be Linux 6.4 or newer",
			    DAX_WINDOW_UNIT);
	layer_files_layout(&files, SECTOR, layout);
	slots_attach(options->slots, files.key, files.items, files.count, on_layers_on_slot,
		     getting);
	return 0;
}

/* ---------------------------------------------------------------- the cache's image */

static void on_image_attached(int number, const struct error *err, void *userdata)
{
	struct getting *getting = userdata;

	trace_end(TRACE_SLOT, NULL, &getting->span);
	if (number < 0)
		log_share(getting, err);
	else
		getting->image.slot = number;
	getting_end(getting);
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

/* -ENOENT: the cache has none, and the factory was asked for it: *ret_wanted are the layers. */
static int open_image(const struct layer_image_options *options, char key[static DIGEST_HEX_SIZE],
		      struct slot_file *ret, struct strv *ret_wanted, struct error *err)
{
	_cleanup_(strv_done) struct strv layers = {};

	if (str_empty(options->cache_dir))
		return error_set(err, EOPNOTSUPP, "there is no cache of images");
	if (!find_layers(options, &layers))
		return error_set(err, EOPNOTSUPP, "they are no layers of an image");
	int r = image_key(&layers, key, err);
	if (r == 0)
		r = image_open(options->cache_dir, key, &ret->fd, &ret->bytes, err);
	if (r == -ENOENT || r == -EBADMSG) {
		image_request(options->loop, options->factory_address, &layers, NULL);
		*ret_wanted = layers;
		layers = (struct strv){};
	}
	return r;
}

static void on_image_in_window(int number, const struct error *err, void *userdata)
{
	struct getting *getting = userdata;

	trace_end(TRACE_SLOT, NULL, &getting->span);
	if (number < 0)
		log_share(getting, err);
	else
		getting->image.window = dax_windows_device(getting->windows, (size_t)number);
	getting_end(getting);
}

static int attach_image(struct getting *getting, const struct layer_image_options *options,
			struct error *err)
{
	struct slot_file file = { .fd = -EBADF };
	char key[DIGEST_HEX_SIZE];
	int r = open_image(options, key, &file, &getting->image.wanted, err);

	if (r < 0 ||
	    dax_windows_attach(options->windows, key, &file, 1, on_image_in_window, getting))
		return r;
	slots_attach(options->slots, key, &file, 1, on_image_attached, getting);
	return r;
}

void layer_image_done(struct layer_image *image)
{
	strv_done(&image->layout);
	strv_done(&image->wanted);
	free(image->window);
	*image = (struct layer_image)LAYER_IMAGE_EMPTY;
}

void layer_image_get(const struct layer_image_options *options, layer_image_fn fn, void *userdata)
{
	_cleanup_(error_done) struct error err = {};
	struct getting *getting = xnew(struct getting);
	int r = 0;

	*getting = (struct getting){ .container_id = options->container_id,
				     .fn = fn,
				     .userdata = userdata,
				     .windows = options->windows,
				     .image = LAYER_IMAGE_EMPTY,
				     .span = trace_begin() };
	if (options->layers->count > 0) {
		r = attach_layers(getting, options, &getting->error);
		if (r == -ENOENT)
			getting->error.number = EINVAL; /* to containerd "not found" is a task */
	} else {
		r = attach_image(getting, options, &err);
		if (r < 0)
			log_share(getting, &err);
	}
	if (r < 0)
		loop_defer(options->loop, getting_end, getting);
}
