#include "shim/images.h"

#include <stdlib.h>

#include "base/memory.h"
#include "base/strings.h"
#include "shim/settings.h"

#define MOUNTS_FOLDER "/run/kata-containers/images" /* in the guest */

static void set_string(char **field, char *text)
{
	if (*field != protobuf_c_empty_string)
		free(*field);
	*field = text;
}

static Grpc__Storage *storage_new(const char *device, const char *mount_point)
{
	static const char *const options[] = { "ro", "dax=always" };
	Grpc__Storage *storage = xnew(Grpc__Storage);

	grpc__storage__init(storage);
	storage->driver = xstrdup("nvdimm");
	storage->fstype = xstrdup("erofs");
	storage->source = xstrdup(device);
	storage->mount_point = xstrdup(mount_point);
	storage->options = xnew_array(char *, ARRAY_SIZE(options));
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		storage->options[storage->n_options++] = xstrdup(options[i]);
	return storage;
}

/* The image is read-only, so whether the mount says so too makes no difference but for what it
 * is told. */
static void become_bind(Grpc__Mount *mount, const char *mount_point)
{
	set_string(&mount->type, xstrdup("bind"));
	set_string(&mount->source, xstrdup(mount_point));
	mount->options = xrealloc_array(mount->options, mount->n_options + 2, sizeof(char *));
	mount->options[mount->n_options++] = xstrdup("bind");
	mount->options[mount->n_options++] = xstrdup("ro");
}

static int mount_one(Grpc__Mount *mount, const struct sandbox *sandbox, struct images *images,
		     struct error *err)
{
	const char *device = sandbox_image_device(sandbox, mount->source);

	if (!device)
		return error_set(err, EINVAL,
				 "the machine's template carries no image \"%.128s\": ask for one "
				 "that does with the annotation "
				 "io.kiln.images",
				 mount->source);
	_cleanup_free_ char *mount_point = xasprintf(MOUNTS_FOLDER "/%s", device + strlen("/dev/"));
	images->storages[images->count++] = storage_new(device, mount_point);
	become_bind(mount, mount_point);
	return 0;
}

int images_mount(Grpc__Spec *oci, const struct sandbox *sandbox, struct images *ret_images,
		 struct error *err)
{
	_cleanup_(images_done) struct images images = {
		.storages = xnew_array(Grpc__Storage *, oci->n_mounts + 1),
	};

	for (size_t i = 0; i < oci->n_mounts; i++) {
		if (!str_equal(oci->mounts[i]->type, IMAGES_MOUNT_TYPE))
			continue;
		int r = mount_one(oci->mounts[i], sandbox, &images, err);
		if (r < 0)
			return r;
	}
	*ret_images = images;
	images = (struct images){};
	return 0;
}

void images_done(struct images *images)
{
	for (size_t i = 0; i < images->count; i++)
		grpc__storage__free_unpacked(images->storages[i], NULL);
	free(images->storages);
	*images = (struct images){};
}
