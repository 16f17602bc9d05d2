/* What limits of memory and processor time say of a machine's size, and what they may become while
 * it runs, when it does not grow any more.
 *
 * Source: the OCI runtime specification 1.0.2 (config-linux.md, memory.limit, cpu.quota and
 * cpu.period), and what containerd's CRI plugin writes of a pod.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "proto/oci.pb-c.h"

/* No machine is larger: a limit beyond is none. */
#define LIMITS_VCPUS_MAX      1024
#define LIMITS_MEMORY_MAX_MIB (16 * 1024 * 1024)

struct limits {
	uint64_t memory;        /* bytes; 0: no limit */
	uint64_t quota, period; /* microseconds of processor time in each period; quota 0: no limit,
				 * period 0: the kernel's, 100000 */
};

/* Takes over what resources (may be NULL) say; what they leave out, which is 0, stays. -1, and more
 * than any machine has (INT64_MAX), is no limit. */
void limits_take(struct limits *limits, const Grpc__LinuxResources *resources);

/* What a machine has to have at least, rounded up; 0: nothing is said of it. */
uint64_t limits_vcpus(const struct limits *limits);
uint64_t limits_memory_mib(const struct limits *limits);

/* -EBUSY: next is more than now, and more than a machine of this size has; 0 of either: its size is
 * not known. Without a limit a container had what its machine has. What was beyond the machine
 * before may stay so. */
_must_check_ int limits_check_update(const struct limits *now, const struct limits *next,
				     uint32_t vcpus, uint32_t memory_mib, struct error *err);
