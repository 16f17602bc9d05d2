/* Where a template's memory is kept: the definition's key `memory_dir`, a folder on
 *
 *   tmpfs      the default (the store's folder, which should be on one): host memory, given out
 *              page by page
 *   hugetlbfs  huge pages, which must be free: each clone reserves as many as its whole memory
 *              takes, and a page it writes to is a huge page of its own
 *   a disk     the page cache holds what is read, and the host may drop it: no memory is taken
 *              for what is not used, and the first use may wait for the disk
 *
 * A template is baked in the store all the same, and its memory is copied there at the end
 * (factory/store/memory_copy.h).
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

/* Whether there is room for `bytes` of guest memory (and for one clone of it on hugetlbfs). Errors
 * say what to do: -ENOTDIR, -EOPNOTSUPP for a file system that holds no files, -EROFS, -EINVAL
 * for a size that is not whole huge pages, -ENOSPC. */
_must_check_ int memory_place_check(const char *dir, uint64_t bytes, struct error *err);

/* Copies the memory at `from` to `path`, which must not exist. Blocks; after a failure the file may
 * be there. */
_must_check_ int memory_place_put(const char *from, const char *path, struct error *err);
