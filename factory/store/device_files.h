/* The files of a template's folder that are behind the devices which wait in its machines: scratch
 * disk and slots (factory/guest/disks.h), DAX windows (factory/guest/dax_window.h). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Makes the file system in two new files of this size, DISKS_SCRATCH and DISKS_SCRATCH_NEW. Blocks
 * (mkfs.ext4, some 20 ms). */
_must_check_ int device_file_make_scratch(const char *dir, uint64_t bytes, struct error *err);
/* Copies image to a new file of DISKS_SLOT_BYTES. Blocks. */
_must_check_ int device_file_make_slot(const char *path, const char *image, struct error *err);
_must_check_ int device_file_make_window(const char *dir, size_t index, uint64_t bytes,
					 struct error *err);

char *device_file_window(const char *dir, size_t index); /* its path; the caller frees */
