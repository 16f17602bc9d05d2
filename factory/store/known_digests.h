/* The SHA-256 of files that were read before, so that a start of the factory, a bake and each look
 * at a template's inputs read what is new, and not many GiB of images of which they know the
 * digest.
 *
 * A file is taken for the same as long as its stamp is: device, inode, size, and the times at which
 * its content and its inode were last changed. The last one is not for anybody to set, so files
 * whose times are all alike (a package's, an image's with reproducible times) are told apart, also
 * where one has got the inode of another. Times have the grain of the file system: a file that was
 * changed just before it was read is read once more a little later. What somebody writes into one
 * that he has mapped may change no time: then the file in the store is to be removed.
 *
 * They are kept in STORE/digests.json, which root's bakes write and the factory reads, for as long
 * as the store is; not those of files on a file system that is not written to, or not known to keep
 * the time of an inode's change: an image's next version there may look the same. A bake reads the
 * copies that it uses, and where a digest is not that of the file it fails, and all of them are
 * forgotten (factory/bake/bake_inputs.h). `kiln-ctl factory verify` never asks them.
 *
 * The file's version is FORMAT_DIGESTS (base/format.h), the first of which has no key for it; keys
 * that are not known are ignored. One of a later version is replaced: nothing is lost with it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/input_stamp.h"

#define KNOWN_DIGESTS_MAX 1024 /* files; of more those are forgotten that were not asked for */

struct known_digest {
	struct input_stamp stamp;
	char digest[DIGEST_HEX_SIZE];
	bool settled;  /* it was read a while after its change */
	bool storable; /* settled, and its file system tells of changes */
};

/* `struct known_digests known = {};` knows none. */
struct known_digests {
	struct known_digest *items; /* owned; what was asked for last is last */
	size_t count;
	bool grown; /* since they were loaded or stored, by one that is storable */
};

/* None where there is no file yet, it cannot be read, or others than root and this user may have
 * written it; the latter two are logged. Blocks. */
void known_digests_load(const char *store, struct known_digests *ret_known);
/* Writes nothing where nothing was added. Blocks. */
_must_check_ int known_digests_store(struct known_digests *known, const char *store,
				     struct error *err);
/* Removes the file, and logs where it cannot; what was loaded of it before stays. */
void known_digests_forget(const char *store);
void known_digests_done(struct known_digests *known);

/* The digest and the size of a file, which is read if it is not known, and known then, unless it
 * was written to meanwhile. Failures leave ret_hex and ret_bytes untouched. Blocks. */
_must_check_ int known_digests_file(struct known_digests *known, const char *path,
				    char ret_hex[static DIGEST_HEX_SIZE], uint64_t *ret_bytes,
				    struct error *err);
