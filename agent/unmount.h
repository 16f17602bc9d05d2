/* Unmounting in a child of the agent's. With a file system goes what was written to it and is in no
 * disk yet: that of an overlay writes all that the whole scratch disk has. It takes seconds where
 * the disk is slow, and the loop serves the other containers meanwhile.
 */
#pragma once

#include "base/error.h"

/* The mount point is free when this returns. *ret_fd, the caller's, has its end (LOOP_READ) when
 * the file system is unmounted, if nobody else uses it. Then the child removes `folder` with all
 * that is in it, of which a container may leave millions, and nobody waits for that; NULL: none.
 *
 * Where this fails, for want of a process or of descriptors, nothing has happened. */
_must_check_ int unmount_aside(const char *mount_point, const char *folder, int *ret_fd);
