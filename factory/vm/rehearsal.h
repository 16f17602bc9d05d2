/* The throwaway container of warming: what a container engine asks for by default.
 *
 * Its root file system is made as a real container's is (factory/guest/guest_root.h), so that
 * mounting an image and an overlay, finding files and running a program
 * (factory/rehearsal/program.c) are rehearsed too. It has a system call filter, for under emulation
 * the first one takes a guest 20 to 100 ms longer than the others. The small root for it is in
 * every guest's root image. A clone also has a volume, a file in its share; a template that is
 * being baked has no share. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "factory/guest/storages.h"
#include "proto/oci.pb-c.h"

#define REHEARSAL_ID "kiln-rehearsal"

/* How the root image is mounted for it: as most containers of the machine will have theirs. (Both
 * ways would cost a clone under emulation 2 MiB more, for what it translates of the guest's disk
 * drivers.) */
enum rehearsal_image {
	REHEARSAL_DAX,  /* its own device once more, as those of DAX windows */
	REHEARSAL_SLOT, /* the first slot, which holds a copy of it */
	REHEARSAL_NONE, /* not at all: the guest's own root */
};
enum rehearsal_image rehearsal_image_of(uint64_t dax_windows, uint64_t block_slots);

/* *ret_spec is freed with grpc__spec__free_unpacked(); its root's storages are appended to list.
 * has_volume: with the file that rehearsal_share_make() makes. */
_must_check_ int rehearsal_make(enum rehearsal_image image, bool has_volume, Grpc__Spec **ret_spec,
				struct storages *list, struct error *err);

/* Makes SHARE_DIR/kiln-rehearsal with a file, and takes it away. */
_must_check_ int rehearsal_share_make(const char *share_dir, struct error *err);
_must_check_ int rehearsal_share_remove(const char *share_dir, struct error *err);
