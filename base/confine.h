/* What a process gives up for good before it reads the bytes of somebody it does not trust: system
 * calls, by seccomp, and places to write to, by Landlock. Each works for every user, holds for all
 * that the process starts from then on, and cannot be undone. Call them where there is one thread:
 * another would go on as before. A refused call fails with EPERM (EACCES where Landlock refuses);
 * one in another machine's numbering (the kernel takes those of 32 bits) ends the process. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* From here on this process works with the descriptors, the memory and the loop that it has. It
 * makes no descriptors out of paths or addresses, no processes, and sends signals to none. */
_must_check_ int confine(struct error *err);

/* What a program can go without that does more than reading and answering. */
enum confine_calls {
	/* The host as a whole: its clock, its modules, its power, its swap, its ports. */
	CONFINE_HOST = 1 << 0,
	/* Other processes' memory and descriptors. */
	CONFINE_PROCESSES = 1 << 1,
	/* Where the kernel's faults were that any user could reach, and what is of no use here:
	 * io_uring, keyrings, performance counters, sockets of rare families. */
	CONFINE_CORNERS = 1 << 2,
	/* Mounts, namespaces, programs for the kernel (BPF), files by handle. */
	CONFINE_MOUNTS = 1 << 3,
};

/* Refuses these (enum confine_calls, or-ed), and leaves the rest. */
_must_check_ int confine_calls(unsigned calls, struct error *err);

/* From here on this process makes, changes and removes files below this folder only; what it has
 * open stays open, and devices in /dev can be written to. Nor does it connect to anything by TCP
 * but to tcp_port (0: to nothing), where the kernel can tell (Linux 6.7). A kernel without
 * Landlock, or with its first version, which forbids all renames between folders, leaves everything
 * as it was: *ret_done is false then.
 */
_must_check_ int confine_writes(const char *folder, uint16_t tcp_port, bool *ret_done,
				struct error *err);
