/* The throwaway container of warming: what a container engine asks for by default.
 *
 * Its root file system is made as a real container's is (factory/vm/guest_root.h), so that
 * mounting an image and an overlay, finding files and running a program
 * (factory/rehearsal/program.c) are rehearsed too: the first slot holds a copy of the root image,
 * in which every guest has a small root. A machine without slots takes that from its own root. A
 * clone also has a volume, a file in its share; a template that is being baked has no share. */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "factory/vm/storages.h"
#include "proto/oci.pb-c.h"

#define REHEARSAL_ID "kiln-rehearsal"

/* *ret_spec is freed with grpc__spec__free_unpacked(); its root's storages are appended to list.
 * has_volume: with the file that rehearsal_share_make() makes. */
_must_check_ int rehearsal_make(bool has_slot, bool has_volume, Grpc__Spec **ret_spec,
				struct storages *list, struct error *err);

/* Makes SHARE_DIR/kiln-rehearsal with a file, and takes it away. */
_must_check_ int rehearsal_share_make(const char *share_dir, struct error *err);
_must_check_ int rehearsal_share_remove(const char *share_dir, struct error *err);
