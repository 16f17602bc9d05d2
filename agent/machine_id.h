/* The machine id (machine-id(5)) of a sandbox, its own in every clone.
 *
 * Containers see what their image has, as with other runtimes, with one exception: an empty
 * /etc/machine-id (or "uninitialized") is how an image asks for the id of the machine it runs
 * on. The sandbox's is mounted over that, read-only, the same in all its containers.
 */
#pragma once

#include "base/error.h"

/* Makes a fresh one; to be called after the guest was reseeded, or all clones would have the same.
 * It is kept in memory, and becomes a file with the first container that wants to see it. */
void machine_id_make(void);
void machine_id_remove(void);

/* For a container's first process, in its mount namespace: root is its root file system. */
_must_check_ int machine_id_show(int root, struct error *err);
