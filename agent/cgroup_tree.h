/* The groups below a cgroup, of which a container that may write to its own can make as many as it
 * likes, as deep as it likes and by any name: the way down is a list in memory, and two descriptors
 * are enough. ".." leads back up, because groups of v2 cannot be moved.
 */
#pragma once

#include "base/error.h"
#include "base/strv.h"

/* Adds the names of those directly below; how many there are. dir is borrowed. */
_must_check_ int cgroup_tree_children(int dir, struct strv *names);

/* One step of a walk: *fd becomes the group `name` below it, or with ".." that above it. Untouched
 * on failure. */
_must_check_ int cgroup_tree_go(int *fd, const char *name);

/* Removes all below, not the group itself. -EBUSY: there is a process in one of them. */
_must_check_ int cgroup_tree_remove_below(int dir);
