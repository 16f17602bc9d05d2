/* A container's seccomp profile, compiled before it goes to the guest (proto/seccomp_profile.h).
 *
 * Compiled profiles are kept in /run/kiln/seccomp, each in a file named by the digest of its
 * profile: the containers of a node have only a few different ones.
 */
#pragma once

#include "base/error.h"
#include "proto/oci.pb-c.h"

/* Replaces the profile in linux, if it has one, by the compiled one; linux may be NULL. */
_must_check_ int seccomp_precompile(Grpc__Linux *linux, struct error *err);
