/* The ids a machine's VMM has on the host: files are mounted for it so that uid N on disk is uid
 * N in the container (idmapped mounts, mount_setattr(2)), although on the host the VMM is a user
 * that owns nothing. Which ids they are is what the kernel says of the process. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct large_ids;

struct idmap {
	int userns;     /* owned; -EBADF: the VMM is in our own, and there is nothing to map */
	uint32_t first; /* the host's number for root in there */
	const struct large_ids *large; /* shim/large_ids.h; borrowed; NULL: ids below 65536 only */
};
#define IDMAP_NONE                                                                                 \
	{                                                                                          \
		.userns = -EBADF                                                                   \
	}

/* pidfd names the process beyond doubt. */
_must_check_ int idmap_open(pid_t pid, int pidfd, struct idmap *ret_idmap, struct error *err);
void idmap_close(struct idmap *idmap);

/* The host's number of root, of the text of /proc/PID/uid_map, whose first line is about root where
 * anything is. -EBADMSG: it is not. */
_must_check_ int idmap_parse(const char *text, uint32_t *ret_first);

/* The calling thread makes files as the machine's root from here on, with all its capabilities
 * kept; and again as root. */
_must_check_ int idmap_enter(const struct idmap *idmap, struct error *err);
void idmap_leave(const struct idmap *idmap);
