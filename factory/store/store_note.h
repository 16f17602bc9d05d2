/* What a factory leaves beside its socket for claimers that come when it is not there: where its
 * folders are, and what machines are shut in. SOCKET.json, readable by its owner only; it stays
 * after the factory's end, and a claimer believes only one of its own user's. */
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

/* address: a Unix socket's, as socket_connect() takes it. -ENOENT: there is no note. */
_must_check_ int store_note_read(const char *address, struct store_note *ret_note,
				 struct error *err);
void store_note_done(struct store_note *note);
