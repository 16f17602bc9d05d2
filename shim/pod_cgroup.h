/* A machine's VMM in the control group of its pod (`sandbox_cgroup_only`, as Kata Containers calls
 * it), where whoever has made the pod's group limits it and reads what it uses: the kubelet. It is
 * in a group of its own below the pod's, "kiln_ID", with the limits that the machine has anyway.
 *
 * Memory that a parked machine has touched stays counted where it was parked, as the kernel has it.
 */
#pragma once

#include <sys/types.h>

#include "base/error.h"

/* The pod's group by linux.cgroupsPath of one of its containers (OCI runtime specification): of
 * "/kubepods/pod1/ID" it is "kubepods/pod1", of systemd's form "a-b.slice:PREFIX:ID"
 * "a.slice/a-b.slice". *ret_group is NULL where there is no path; the caller frees. -EINVAL: a path
 * that leads upwards. */
_must_check_ int pod_cgroup_find(const char *cgroups_path, char **ret_group, struct error *err);

/* Blocks, for 10 ms and more: the kernel's time to move a process. */
_must_check_ int pod_cgroup_join(const char *group, const char *vm_id, pid_t vmm_pid,
				 struct error *err);

/* Once the VMM has ended. What is not there is nothing; a failure is logged. */
void pod_cgroup_leave(const char *group, const char *vm_id);
