/* What a tmpfs gets of the folder that it covers ("tmpcopyup" of the runtimes).
 *
 * Folders, files, links and device nodes with their owner, mode and times; extended attributes are
 * left out, as runc does. For the child, before the tmpfs is attached: nobody else can reach it,
 * and a link in the folder is copied, never followed. */
#pragma once

#include "base/error.h"

/* from may be O_PATH; both stay the caller's. -ELOOP: folders lie too deep in one another. Errors
 * name the file. */
_must_check_ int copy_up(int from, int to, struct error *err);
