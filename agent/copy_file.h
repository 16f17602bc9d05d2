/* Files that the host copies into the guest, piece by piece (CopyFile).
 *
 * They lie below COPY_FILE_ROOT alone, as Kata's agent has it. A container may write to folders
 * there (its volumes), so no link on the way is followed. A file is made beside its place and moved
 * there when its last byte has come: whoever opens it sees all of it or what was there before.
 */
#pragma once

#include "base/error.h"
#include "proto/agent.pb-c.h"

#define COPY_FILE_ROOT "/run/kata-containers"

/* One piece. Of a regular file pieces come in order, and one at offset 0 starts anew; a folder and
 * a symlink (whose target is the data) come whole. file_mode has the type, none means a regular
 * file; an owner of -1 is left as it is. root is COPY_FILE_ROOT but in tests. -EINVAL, -EPERM
 * outside of root, -ELOOP where a link is in the way. */
_must_check_ int copy_file(const char *root, const Grpc__CopyFileRequest *request,
			   struct error *err);
