/* The images a template carries beside its root image: EROFS images of which each is one more
 * virtio-pmem device of the template and of its clones, so that a sandbox that needs it has
 * nothing to attach and all of them read the same pages.
 *
 * In the guest an image is /dev/pmemN, mounted with DAX by a storage of the driver "nvdimm".
 * pmem0 is the root image; the carried ones follow in the order of the definition, for the
 * guest numbers its devices by their place on the PCI bus (CARRIED_PCI_SLOT and up), which is
 * that order. A claim's reply says which device has which image.
 *
 * One list is in the definition (with `file`), in the inputs (with digest and size) and, as a
 * part of those, in the manifest. The template's own copy of number N is `images/N` in its
 * folder.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "factory/guest/carried_device.h"
#include "factory/store/known_digests.h"

#define CARRIED_ALIGN  (2u << 20) /* virtio-pmem maps in units of this */
#define CARRIED_FOLDER "images"

struct carried_image {
	char *name;                   /* owned */
	char *file;                   /* owned; NULL but in a definition: absolute */
	char digest[DIGEST_HEX_SIZE]; /* of the content; "" in a definition */
	uint64_t bytes;
};

/* `struct carried c = {};` is an empty one. */
struct carried {
	struct carried_image *items; /* owned */
	size_t count;
};

/* The definition's key "images": an array of objects with `name` and `file` (relative to dir);
 * array NULL: none. Names are 1 to 128 of [A-Za-z0-9._/:@+-], a letter or digit first, each
 * once; files exist and are a multiple of CARRIED_ALIGN long. -EINVAL, -ENOENT: `where` names
 * it in errors. */
_must_check_ int carried_read(const json_t *array, const char *dir, const char *where,
			      struct carried *ret, struct error *err);

/* The manifest's key: name, digest and size of each. Hostile: -EBADMSG with what is wrong. */
_must_check_ int carried_from_json(const json_t *array, struct carried *ret, struct error *err);
json_t *carried_to_json(const struct carried *carried); /* NULL: a name is not UTF-8 */

/* Reads the files of a definition that are not known. Blocks. */
_must_check_ int carried_digest(const struct carried *definition, struct known_digests *known,
				struct carried *ret, struct error *err);

void carried_copy(const struct carried *carried, struct carried *ret_copy);
void carried_done(struct carried *carried);
bool carried_equal(const struct carried *a, const struct carried *b); /* names and content */
const struct carried_image *carried_find(const struct carried *carried, const char *name);
bool carried_has_all(const struct carried *carried, char *const *names, size_t count);

char *carried_path(const char *template_dir, size_t index); /* the copy; the caller frees */
