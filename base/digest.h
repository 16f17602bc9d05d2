/* SHA-256 (FIPS 180-4), by nettle. Linked only where it is used. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define DIGEST_HEX_SIZE 65 /* 64 hex digits and the terminator */

bool digest_is_valid(const char *hex); /* 64 digits, none of them a capital */

struct digest;

struct digest *digest_new(void);
void digest_add(struct digest *d, const void *data, size_t len);
/* Adds the length and the bytes of text, so that ("ab", "c") differs from ("a", "bc"). */
void digest_add_string(struct digest *d, const char *text);
void digest_finish(struct digest *d, char ret_hex[static DIGEST_HEX_SIZE]); /* ends its use */
void digest_free(struct digest *d);
DEFINE_CLEANUP(struct digest *, digest_free)

/* Digest of a file's content; of a descriptor, from where it is. Blocks for large files: call it on
 * a worker. */
_must_check_ int digest_fd(int fd, const char *path, char ret_hex[static DIGEST_HEX_SIZE],
			   struct error *err);
_must_check_ int digest_file(const char *path, char ret_hex[static DIGEST_HEX_SIZE],
			     struct error *err);

/* Digest of what a sparse file holds: its size, and each page (4 KiB) that is not all zero with its
 * place. The same for two files of equal content, whichever holes they have; takes no longer than
 * reading what is not a hole. */
_must_check_ int digest_sparse_file(const char *path, char ret_hex[static DIGEST_HEX_SIZE],
				    struct error *err);
