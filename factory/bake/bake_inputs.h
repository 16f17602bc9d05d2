/* What a bake is made of: the files that the definition names are read, so that the template gets
 * its name; copied, for they may be written to; and compared with what was read.
 *
 * Every function blocks. -ESTALE: a file is not what it was read, or known
 * (factory/store/known_digests.h), as. What is known is forgotten then, and the next bake reads all
 * of them.
 */
#pragma once

#include "factory/store/template.h"

/* Modes of what clones map. They are all other users than root; beside them only the bake's own
 * user gets into the store. */
#define TEMPLATE_FILE_MODE 0444
#define TEMPLATE_DIR_MODE  0711

struct bake_inputs {
	const struct template_definition *definition; /* borrowed */
	const struct template_host *host;             /* borrowed */
	const char *store;                            /* borrowed */
	struct template_inputs values;                /* once read */
	struct known_digests known;
};

_must_check_ int bake_inputs_read(struct bake_inputs *inputs, struct error *err);

/* The root image and the carried ones, into the template's folder: `image`, `images/N`. */
_must_check_ int bake_inputs_copy_images(const struct bake_inputs *inputs, const char *dir,
					 struct error *err);
/* What QEMU boots, which may be where only root gets. */
_must_check_ int bake_inputs_copy_kernel(const struct bake_inputs *inputs, const char *kernel,
					 const char *initrd, struct error *err);

/* At the bake's end: nothing was written to since, and the copies of the images are what their
 * originals were. image_digest: of the copy of the root image. */
_must_check_ int bake_inputs_check(struct bake_inputs *inputs, const char *dir,
				   const char *image_digest, struct error *err);

void bake_inputs_done(struct bake_inputs *inputs);
