/* The throwaway container of warming: what a container engine asks for by default.
 *
 * Its root filesystem is in the machine's share, as a real container's is, so that mounting the
 * share, finding files and running a program (factory/rehearsal/program.c) over virtio-9p are
 * rehearsed too; a template that is being baked has no share, and takes a root that every guest
 * image carries.
 */
#pragma once

#include "base/error.h"
#include "proto/oci.pb-c.h"

#define REHEARSAL_ID "kiln-rehearsal"

/* With a root of the guest image. Freed with grpc__spec__free_unpacked(). */
_must_check_ int rehearsal_spec(Grpc__Spec **ret_spec, struct error *err);

/* The same with the root that rehearsal_share_make() makes. */
_must_check_ int rehearsal_share_spec(Grpc__Spec **ret_spec, struct error *err);

/* Makes SHARE_DIR/kiln-rehearsal with its program, and takes it away. */
_must_check_ int rehearsal_share_make(const char *share_dir, struct error *err);
_must_check_ int rehearsal_share_remove(const char *share_dir, struct error *err);
