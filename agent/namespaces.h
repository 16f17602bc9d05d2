/* The namespaces of a container, from linux.namespaces of its spec.
 *
 * A mount namespace is always new: there is no container without one. The network namespace
 * is that of the sandbox, which is the guest's own, so its entry is accepted and means
 * nothing. So does that of a time namespace: a new one without offsets, which are refused
 * (agent/spec_refused.h), shows the clocks that the guest's has. User namespaces are refused. So is
 * a path of a pid or a time namespace: pid namespaces that are shared are asked for by the request
 * (agent/pid_namespace.h).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "proto/oci.pb-c.h"

struct namespace_plan {
	uint64_t clone_flags; /* CLONE_NEWNS and what else is new */
	bool new_cgroup;      /* unshared by the child, once it is in its cgroup */
	const char *ipc_path, *uts_path, *cgroup_path; /* borrowed; joined by the child; or NULL */
};

_must_check_ int namespace_plan_init(const Grpc__Spec *spec, struct namespace_plan *ret,
				     struct error *err);

/* For the child: joins what has a path, unshares the cgroup namespace. */
_must_check_ int namespace_enter(const struct namespace_plan *plan, struct error *err);
