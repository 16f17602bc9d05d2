/* The cgroup (v2) of one container.
 *
 * It stands directly below the hierarchy's root, named by the container's id: the guest holds
 * one sandbox, and what the host's linux.cgroupsPath says about other pods means nothing here.
 *
 * The root is /sys/fs/cgroup in a guest, or /sys/fs/cgroup/unified on a development machine
 * with the hybrid layout. Where there is neither, containers run without a cgroup and asking
 * for limits is an error. The devices that its processes may use are those of agent/device_rules.h.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "proto/oci.pb-c.h"

struct cgroup;

/* Path of the hierarchy, or NULL where none is mounted. */
const char *cgroup_root(void);

/* Enables for containers the controllers that all of them use: cpu, memory, pids. Another one is
 * enabled when the first container has a limit of it, since each makes a container's start and
 * end longer (cpuset patches the kernel's code for its first and last cgroup). */
_must_check_ int cgroup_enable_basic(struct error *err);

/* Has the block devices that containers use counted from now on (io.stat), if they are not yet: who
 * asks first for statistics pays for the controller, and no container's start does. */
void cgroup_count_block_io(void);

/* Makes an empty cgroup with a program for devices, which stays: the kernel patches its own code
 * for the first such program and after the last one. */
_must_check_ int cgroup_hold_device_control(struct error *err);

/* -EEXIST: a cgroup of this name is there already. *ret is NULL where there is no hierarchy.
 * resources may be NULL. */
_must_check_ int cgroup_new(const char *id, const Grpc__LinuxResources *resources,
			    struct cgroup **ret, struct error *err);

/* The folder, for CLONE_INTO_CGROUP; -EBADF for NULL. Borrowed. */
int cgroup_fd(const struct cgroup *cgroup);

/* The same for a process that is born in sight of the container, which must not find the way from
 * this descriptor to the guest's files: a mount of this folder alone, read-only. */
_must_check_ int cgroup_birth_fd(struct cgroup *cgroup, int *ret_fd, struct error *err);

/* The same of the group below it, or itself, that process pid has been moved to; the caller owns
 * *ret_fd. -ENOENT: it is in none. */
_must_check_ int cgroup_birth_fd_of(const struct cgroup *cgroup, pid_t pid, int *ret_fd,
				    struct error *err);

/* Changes the limits that are given; the others stay. -EOPNOTSUPP for NULL. */
_must_check_ int cgroup_update(const struct cgroup *cgroup, const Grpc__LinuxResources *resources,
			       struct error *err);

/* Stops everything in it and below it, or lets it go on. It is so once cgroup_is_frozen() says so,
 * which the file of cgroup_open_events() tells of. -EOPNOTSUPP for NULL. */
_must_check_ int cgroup_freeze(const struct cgroup *cgroup, bool frozen);
bool cgroup_is_frozen(const struct cgroup *cgroup);

/* SIGKILL to everything in it and below it. */
_must_check_ int cgroup_kill(struct cgroup *cgroup);

/* Removes it and what is below it. -EBUSY while a process is left; NULL: success. */
_must_check_ int cgroup_remove(struct cgroup *cgroup);

/* Opens the file whose poll state changes when the last process leaves, and when all are frozen or
 * none is any more; the caller owns it. */
_must_check_ int cgroup_open_events(struct cgroup *cgroup, int *ret_fd);

/* Forgets it; the folder stays unless cgroup_remove() succeeded. */
void cgroup_free(struct cgroup *cgroup);
DEFINE_CLEANUP(struct cgroup *, cgroup_free)
