/* Paths inside a container's root file system, whose content is not trusted: a symlink there
 * must not lead the agent out of it. All look-ups happen in the kernel, below the root's
 * descriptor, and give descriptors that are used from then on.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

/* Opens what is there, with O_PATH, following links inside the root. The caller owns *ret_fd.
 * -ENOENT where it is missing. */
_must_check_ int rootpath_open(int root, const char *path, int *ret_fd);

/* The same where no symlink is on the way; -ELOOP where one is. */
_must_check_ int rootpath_open_no_links(int root, const char *path, int *ret_fd);

/* rootpath_open() for reading or writing (flags of open(2)): what is there may be anything, so the
 * caller checks what it got. */
_must_check_ int rootpath_open_file(int root, const char *path, int flags, int *ret_fd);

/* rootpath_open(), and makes what is missing: parents 0755, at the end a folder (0755) or an empty
 * file (0644). */
_must_check_ int rootpath_make(int root, const char *path, bool is_dir, int *ret_fd,
			       struct error *err);

/* Opens the folder that holds path's last component (making it if missing); *ret_name points
 * into path. */
_must_check_ int rootpath_parent(int root, const char *path, int *ret_dir, const char **ret_name,
				 struct error *err);
