/* The device control of cgroup v2: a program at a container's cgroup that the kernel asks whenever
 * a device node is made or opened by a process in it, or in a cgroup below it.
 *
 * Programs at the cgroups below are asked too: a process may go on only where all of them allow it.
 */
#pragma once

#include "base/error.h"
#include "proto/oci.pb-c.h"

/* cgroup is a folder of the hierarchy; resources may be NULL. */
_must_check_ int device_control_set(int cgroup, const Grpc__LinuxResources *resources,
				    struct error *err);
