/* Users and groups from 65536 on that a pod's containers name (process.user): their places in its
 * machine's ids, and the mounts that show their files (factory/guest/large_ids.h says the way).
 *
 * A place is given when a container first names the id, and stays its own for as long as the
 * sandbox. A container's mounts have the places that were given when it was made: so an id that
 * only a later container names, or an exec, owns no files there, as in every pod that names none.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "factory/guest/large_ids.h"
#include "proto/oci.pb-c.h"
#include "shim/idmap.h"
#include "shim/share_folder.h"

struct large_ids {
	uint32_t items[LARGE_IDS_MAX]; /* of places, in their order */
	size_t count;
};

/* Gives places to what has none yet. user may be NULL. -EAGAIN with the field: there are no more;
 * what came before has its place all the same. */
_must_check_ int large_ids_take(struct large_ids *ids, const Grpc__User *user, struct error *err);

/* The mapping of mounts for a machine of these ids, in which each has its place. The caller closes
 * it; ids are borrowed by it. Takes the time of a process that is cloned and ended. Only where
 * there are ids, and a machine with a user namespace. */
_must_check_ int large_ids_map(const struct large_ids *ids, const struct idmap *machine,
			       struct idmap *ret_idmap, struct error *err);

/* Puts the container's table into its folder, which must be there before its first mount is used.
 */
_must_check_ int large_ids_show(const struct large_ids *ids, const struct share_folder *folder,
				struct error *err);

/* The host's number for an owner, as a mount of this mapping shows it; of nobody for those that it
 * does not have. */
uint32_t large_ids_on_host(const struct idmap *idmap, uint32_t id);

/* Text of /proc/PID/uid_map; the caller frees. */
char *large_ids_text(const struct large_ids *ids, uint32_t first);
