/* Files and folders. Paths are borrowed; errors name the path. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* Reads a whole file of at most max bytes (-EFBIG beyond). The text is terminated, the
 * caller frees it; ret_len may be NULL. */
_must_check_ int file_read(const char *path, size_t max, char **ret_text, size_t *ret_len,
			   struct error *err);

/* Replaces path in one step: temporary file beside it, fsync, rename, fsync of the folder. */
_must_check_ int file_write_atomic(const char *path, const void *data, size_t len, mode_t mode,
				   struct error *err);

/* The same without the fsyncs, which can take longer than all the rest of a container's start: for
 * what means nothing any more once the host has gone down. */
_must_check_ int file_write_volatile(const char *path, const void *data, size_t len, mode_t mode,
				     struct error *err);

/* Writes into an existing file (sysfs, procfs, cgroupfs) with one write(2). */
_must_check_ int file_write_value(const char *path, const char *text, struct error *err);

/* Creates the folder and its missing parents with mode; an existing folder is success. */
_must_check_ int dir_make(const char *path, mode_t mode, struct error *err);

/* A folder that can be read, with nothing in it. */
bool dir_is_empty(const char *path);

/* Removes a file or a whole tree; never follows symlinks, never crosses into another mount
 * (-EBUSY). A missing path is success. */
_must_check_ int path_remove(const char *path, struct error *err);

bool path_exists(const char *path);

/* "dir/name" unless name is absolute; the caller frees. */
char *path_join(const char *dir, const char *name);
/* From the root on; links in it are followed where it is used, and not now. NULL gives NULL; the
 * caller frees. */
char *path_absolute(const char *path);

/* Loops until all is read or written. Reading returns the bytes got (less than len only at
 * the end of the file); both return a negative errno on failure. */
ssize_t read_full(int fd, void *data, size_t len);
_must_check_ int write_full(int fd, const void *data, size_t len);
