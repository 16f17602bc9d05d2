/* Capability sets of a container process (capabilities(7)). */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "proto/oci.pb-c.h"

/* One bit a capability. */
struct caps {
	uint64_t bounding, effective, inheritable, permitted, ambient;
};

/* Names as in OCI ("CAP_NET_ADMIN"). NULL: all sets empty. A name this build does not know
 * is left out with a warning, as runc does; `object` names the container in it. */
void caps_parse(const Grpc__LinuxCapabilities *names, const char *object, struct caps *ret);

/* Drops from the bounding set what is not in it. For the child, before it changes its user. */
_must_check_ int caps_apply_bounding(const struct caps *caps);

/* After it: gives up what is neither in one of the sets nor in `more`. */
_must_check_ int caps_limit(const struct caps *caps, uint64_t more);

/* The other sets, after the change of user (made with PR_SET_KEEPCAPS), and `more` still. */
_must_check_ int caps_apply(const struct caps *caps, uint64_t more);

/* Gives up `more`. */
_must_check_ int caps_finish(const struct caps *caps);
