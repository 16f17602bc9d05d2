/* The throwaway container of warming: what a container engine asks for by default, run on a
 * root filesystem that every guest image carries. */
#pragma once

#include "base/error.h"
#include "proto/oci.pb-c.h"

#define REHEARSAL_ID "kiln-rehearsal"

/* Freed with grpc__spec__free_unpacked(). */
_must_check_ int rehearsal_spec(Grpc__Spec **ret_spec, struct error *err);
