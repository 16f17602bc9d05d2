/* A container's seccomp profile, compiled before it goes to the guest (proto/seccomp_profile.h).
 *
 * What came out is kept in /run/kiln/seccomp, in a file named by the digest of the profile, since a
 * node's containers have but a few.
 */
#pragma once

#include "base/error.h"
#include "proto/oci.pb-c.h"

/* Puts what came out in the place of the profile in linux, where it has one; linux may be NULL. */
_must_check_ int seccomp_precompile(Grpc__Linux *linux, struct error *err);
