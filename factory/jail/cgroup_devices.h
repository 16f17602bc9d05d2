/* Which device files the processes of a control group may open: what the jail shows its VMM
 * (factory/jail/jail.c) and /dev/zero, to read and write. No others, wherever their nodes are, and
 * none may be made.
 *
 * A mount without nodev (one that appears late below an rslave volume has the host's options) shows
 * nodes of devices. This is what keeps them shut, also for a VMM that a guest broke out of.
 *
 * v1: the devices controller (Documentation/admin-guide/cgroup-v1/devices.rst). v2: a program of
 * type BPF_PROG_TYPE_CGROUP_DEVICE on the group's folder (bpf(2)). Both hold for the groups below.
 */
#pragma once

#include "base/error.h"

/* Of a v1 group that has no groups below it yet, or has been limited before. */
_must_check_ int cgroup_devices_limit_v1(const char *folder, struct error *err);

/* Of a v2 group; takes the place of an earlier call's program. */
_must_check_ int cgroup_devices_limit_v2(const char *folder, struct error *err);
