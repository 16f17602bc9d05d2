/* Capability sets of a container process (capabilities(7)). */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "proto/oci.pb-c.h"

/* One bit a capability. */
struct caps {
	uint64_t bounding, effective, inheritable, permitted, ambient;
};

/* NULL: all sets empty. -EINVAL for a name that is not known. Of the ambient set, what is not
 * inheritable and permitted is left out, as runc does. */
_must_check_ int caps_parse(const Grpc__LinuxCapabilities *names, struct caps *ret,
			    struct error *err);

/* Those of the agent itself, and no less for what its children may get. */
_must_check_ int caps_own(struct caps *ret);

/* Takes out of the process' bounding set what caps->bounding does not have. The child calls it
 * before it changes its user. */
_must_check_ int caps_apply_bounding(const struct caps *caps);

/* The child calls it next: gives up what is neither in one of the sets nor in `more`. */
_must_check_ int caps_limit(const struct caps *caps, uint64_t more);

/* Sets the other sets, after the child has changed its user (with PR_SET_KEEPCAPS), and keeps
 * `more` as well. */
_must_check_ int caps_apply(const struct caps *caps, uint64_t more);

/* Gives up `more`. */
_must_check_ int caps_finish(const struct caps *caps);
