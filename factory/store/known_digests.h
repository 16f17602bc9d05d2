/* The SHA-256 of files that were read before, so that a start of the factory, a bake and each look
 * at a template's inputs read what is new, and not many GiB of images of which they know the
 * digest.
 *
 * A file is the same as long as its stamp is: device, inode, size, and the times at which its
 * content and its inode were last changed. The last one cannot be set by anybody, so files whose
 * times are all alike (a package's, an image's with reproducible times) are told apart, also where
 * one has got the inode of another. Times have the grain of the file system: of a file that was
 * changed just before it was read the digest is known while the program runs, and is not stored.
 *
 * They are kept in STORE/digests.json, which root's bakes write and the factory reads. They are on
 * the same file system as the templates and end with them. They are no more than a hint to whoever
 * can write a template there: `kiln-ctl factory verify` never asks them. Of the version
 * FORMAT_DIGESTS (base/format.h), the first of which has no key for it; keys that are not known are
 * ignored.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/input_stamp.h"

#define KNOWN_DIGESTS_MAX 256 /* files; of more the oldest are forgotten */

struct known_digest {
	struct input_stamp stamp;
	char digest[DIGEST_HEX_SIZE];
	bool settled; /* to be stored */
};

/* `struct known_digests known = {};` knows none. */
struct known_digests {
	struct known_digest *items; /* owned, the oldest first */
	size_t count;
	bool grown; /* since they were loaded or stored, by one that is to be stored */
};

/* None where there is no file yet, or it cannot be read, which is logged. Blocks. */
void known_digests_load(const char *store, struct known_digests *ret_known);
/* Writes nothing where nothing was added. Blocks. */
_must_check_ int known_digests_store(struct known_digests *known, const char *store,
				     struct error *err);
void known_digests_done(struct known_digests *known);

/* The digest and the size of a file, which is read if it is not known. Blocks. */
_must_check_ int known_digests_file(struct known_digests *known, const char *path,
				    char ret_hex[static DIGEST_HEX_SIZE], uint64_t *ret_bytes,
				    struct error *err);
