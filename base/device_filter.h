/* A program of type BPF_PROG_TYPE_CGROUP_DEVICE at a folder of control groups v2: the kernel asks
 * it whenever a process in the group, or in one below it, makes or opens a device node (bpf(2)).
 * The rules are the caller's; it writes the instructions. */
#pragma once

#include <linux/bpf.h>
#include <stddef.h>

#include "base/error.h"

/* Loads it; the caller owns *ret_fd. What the kernel's verifier says against it is in err. */
_must_check_ int device_filter_load(const struct bpf_insn *insns, size_t count, int *ret_fd,
				    struct error *err);

/* The group keeps it, also when fd is closed. flags 0: it takes the place of an earlier one, and
 * groups below cannot have their own; BPF_F_ALLOW_MULTI: those below may have more, and a device is
 * allowed if all of them allow it. */
_must_check_ int device_filter_attach(int fd, int cgroup, unsigned flags, struct error *err);
