/* The layers of an image of containerd's, as a container of that image will have them. */
#pragma once

#include "base/error.h"
#include "base/strv.h"

/* NULL where ctr's own default is meant. */
struct image_source {
	const char *reference;
	const char *address;
	const char *name_space;
	const char *snapshotter;
};

/* Asks containerd by ctr for a view of the image, reads the layers' folders (topmost first) from
 * its mount, and removes the view: -ENOENT: no ctr; -EIO: ctr failed, and says why; -EBADMSG: the
 * view is neither an overlay nor a folder, so the snapshotter has no layers for us. SIGINT and
 * SIGTERM wait until nothing is left behind. */
_must_check_ int image_layers_find(const struct image_source *source, struct strv *ret_layers,
				   struct error *err);

/* The layers in what `ctr snapshots mounts` prints: the lowerdir of an overlay, the source of a
 * bind mount. -EBADMSG. */
_must_check_ int image_layers_parse(const char *text, struct strv *ret_layers, struct error *err);
