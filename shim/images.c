#include "shim/images.h"

#include <stdlib.h>

#include "base/memory.h"
#include "base/strings.h"
#include "factory/guest/guest_root.h"
#include "proto/message_text.h"
#include "shim/settings.h"

/* The image is read-only, so whether the mount says so too makes no difference but for what it
 * is told. */
static void become_bind(Grpc__Mount *mount, const char *mount_point)
{
	message_text_set(&mount->type, xstrdup("bind"));
	message_text_set(&mount->source, xstrdup(mount_point));
	mount->options = xrealloc_array(mount->options, mount->n_options + 2, sizeof(char *));
	mount->options[mount->n_options++] = xstrdup("bind");
	mount->options[mount->n_options++] = xstrdup("ro");
}

static int mount_one(Grpc__Mount *mount, const struct sandbox *sandbox, struct storages *storages,
		     struct error *err)
{
	const char *device = sandbox_image_device(sandbox, mount->source);

	if (!device)
		return error_set(err, EINVAL,
				 "the machine's template carries no image \"%.128s\": ask for one "
				 "that does with the annotation "
				 "io.kiln.images",
				 mount->source);
	_cleanup_free_ char *mount_point = guest_root_add_window(storages, device);

	become_bind(mount, mount_point);
	return 0;
}

int images_mount(Grpc__Spec *oci, const struct sandbox *sandbox, struct storages *storages,
		 struct error *err)
{
	for (size_t i = 0; i < oci->n_mounts; i++) {
		if (!str_equal(oci->mounts[i]->type, IMAGES_MOUNT_TYPE))
			continue;
		int r = mount_one(oci->mounts[i], sandbox, storages, err);
		if (r < 0)
			return r;
	}
	return 0;
}
