/* The user that a run folder's factory is: kiln-jailer, which is root, makes the folders and says
 * so by the owner of RUN_DIR/pools. Whoever makes something there as root that the factory has to
 * read, write or connect to gives it to this user: also a shim that clones without a factory.
 *
 * What root believes stays root's: the run folder itself, the machines' folders, whose user ids are
 * (RUN_DIR/uids), the store, the cache of images. In RUN_DIR/vms the factory makes entries of its
 * own, and cannot touch those of others (it is sticky). */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

struct keeper {
	uid_t uid; /* 0: the factory is root */
	gid_t gid;
};

/* The user of this name or number; NULL: KEEPER_USER where the host has it, else root. -EINVAL: the
 * host does not know it. */
#define KEEPER_USER "kiln-factory"
_must_check_ int keeper_find(const char *user, struct keeper *ret_keeper, struct error *err);

/* Of a run folder that no kiln-jailer has made, and where this process is not root, which can give
 * nothing away: root. */
struct keeper keeper_of(const char *run_dir);

/* These do nothing where this process is not root. The file is not followed where it is a link. */
_must_check_ int keeper_give(const struct keeper *keeper, const char *path, struct error *err);
_must_check_ int keeper_give_fd(const struct keeper *keeper, int fd, const char *path,
				struct error *err);
/* It stays root's; the factory may pass through, to what it knows the name of. */
_must_check_ int keeper_let_through(const struct keeper *keeper, const char *folder,
				    struct error *err);
