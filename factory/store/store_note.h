/* What a factory leaves beside its socket for claimers that come when it is not there: where its
 * folders are, and what machines are shut in. SOCKET.json, readable by its owner only; it stays
 * after the factory's end, and a claimer believes only one of its own user's.
 *
 * Shims of several versions read it: keys that one does not know are ignored. The first of
 * FORMAT_NOTE (base/format.h) has no key for its version; a later one has "version". */
#pragma once

#include <stdint.h>

#include "base/error.h"

struct store_note {
	char *run_dir; /* owned */
	char *store;   /* owned */
	uint64_t uid_first;
	char *cgroup;      /* owned; NULL: machines have none */
	char *scratch_dir; /* owned */
	char *image_cache; /* owned; NULL: there is none */
};

_must_check_ int store_note_write(const char *socket, const struct store_note *note,
				  struct error *err);

/* address: a Unix socket's, as socket_connect() takes it. -ENOENT: there is no note;
 * -EPROTONOSUPPORT: of a later version. */
_must_check_ int store_note_read(const char *address, struct store_note *ret_note,
				 struct error *err);
void store_note_done(struct store_note *note);
