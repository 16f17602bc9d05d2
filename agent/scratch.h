/* What containers write: folders on the scratch disk (or on a tmpfs, in a machine without one).
 *
 * The disk comes with a file system (factory/guest/disks.h) and is mounted at the start, before the
 * template is frozen, so that a clone has it mounted from the first. All of it ends with the
 * machine; nothing has to survive a crash.
 */
#pragma once

#include "base/error.h"
#include "base/loop.h"

/* How long the journal waits before it commits: usually, and where the host is nearly full
 * (agent/scratch_room.h). */
#define SCRATCH_COMMIT      "commit=30"
#define SCRATCH_COMMIT_NEAR "commit=1"

struct scratch;

/* Mounts the disk at GUEST_SCRATCH (proto/guest_disks.h); once, at the start. */
_must_check_ int scratch_mount(struct error *err);

struct scratch *scratch_new(struct loop *loop);
void scratch_free(struct scratch *scratch); /* folders whose removal has not ended are left */

/* A fresh folder, mode 0700, of which the caller frees *ret_path. */
_must_check_ int scratch_make(struct scratch *scratch, char **ret_path, struct error *err);

/* Removes a folder of scratch_make() with all that is in it, a few entries each turn of the loop,
 * for a container may leave millions. Takes path. */
void scratch_remove(struct scratch *scratch, char *path);
