/* A range of user and group ids of a machine's own, so that no two VMMs are the same user.
 *
 * Ranges have 65536 ids each and begin at a configured one. Taken ones are links in
 * RUN_DIR/uids/, named after the range's first id and pointing to the machine's: making one is
 * a single step, so a factory and claimers that clone for themselves need no other lock. The
 * journal entry has the id before the link is there.
 *
 * The links are root's note of whose the ids are, and the folder is root's: kiln-jailer makes them
 * for a factory. The journal is the factory's, so where it names ids that are not noted here,
 * nothing is done to who has them. A link that is not root's own (an earlier factory made its links
 * itself) keeps its range from being taken, and proves nothing. Where this process is not root, the
 * same holds of its user.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "factory/base/layout.h"

/* The nth range to try for a machine, 0 to UID_RANGES - 1: each has its own order. */
uint32_t uid_range_nth(uint32_t first, const char *id, unsigned n);

/* -EEXIST where another machine has it, or has some of its ids. */
_must_check_ int uid_range_take(const char *run_dir, uint32_t uid, const char *id,
				struct error *err);
/* Whether this one has it, as root has noted. */
bool uid_range_is(const char *run_dir, uint32_t uid, const char *id);
/* First of the range that has this user id, of those that root has noted, whatever is configured
 * now; 0: there is none. */
uint32_t uid_range_find(const char *run_dir, uint32_t uid);
/* A range that is not (or no more) this machine's is left alone. */
_must_check_ int uid_range_release(const char *run_dir, uint32_t uid, const char *id,
				   struct error *err);
