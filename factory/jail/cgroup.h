/* A machine's control group: how much memory, how many threads and how much of the processors its
 * VMM may have (factory/jail/cgroup_limits.h), and which devices it may open
 * (factory/jail/cgroup_devices.h). All machines together weigh as much as the host has processors.
 *
 * Where /sys/fs/cgroup is cgroup v2 there is one folder a machine, else (v1, also beside a v2
 * without controllers) one in the hierarchy of each controller. Names are relative to their
 * roots ("kiln/ID"). Source: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1 of Linux.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "factory/jail/cgroup_limits.h"

/* Makes the group that the machines' are in, and with it sees whether there can be any. Devices are
 * limited here, for all of them at once. A host where those or the processors cannot be limited is
 * told of in the log, and goes without. */
_must_check_ int cgroup_make_parent(const char *name, struct error *err);
_must_check_ int cgroup_make(const char *name, const struct cgroup_limits *limits,
			     struct error *err);
/* Of a group that there is: it has another number of vCPUs from now on. */
_must_check_ int cgroup_set_vcpus(const char *name, unsigned vcpus, struct error *err);

/* Moves a process (pid: of its first thread) to a group that is made for it with the limits of the
 * one that it is in. With v1 its devices stay limited where they are, with v2 they are limited
 * anew. Groups on the way are made where they are missing. The kernel takes 10 ms and more for a
 * move. */
_must_check_ int cgroup_move(pid_t pid, const char *to, struct error *err);

/* Descriptors through which a process with one thread puts itself into the group, by writing "0"
 * to each; the caller owns them. (On v1 that avoids a lock of the kernel's that costs 10 ms and
 * more, and which moving another process takes.) */
#define CGROUP_DOORS 4
_must_check_ int cgroup_open(const char *name, int ret_doors[static CGROUP_DOORS],
			     size_t *ret_count, struct error *err);

/* Of one without processes. 1: it was there; 0: it is missing. */
_must_check_ int cgroup_remove(const char *name, struct error *err);
