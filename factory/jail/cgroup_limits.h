/* What a control group's limits are in the words of v1 and v2, and writing them into its folders.
 *
 * Among machines a processor's time is shared by their vCPUs, and none gets more than it has vCPUs
 * and CGROUP_CPUS_BESIDE.
 *
 * folder is the group's: of v2's one hierarchy where controller is NULL, else of that v1
 * controller's. What the controller has no limit of is nothing to do. The files of the processors
 * may be missing: a controller that v2 has not delegated, or a kernel without quotas.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

enum { CGROUP_CPUS_BESIDE = 1 }; /* for the VMM's own threads: its loop, virtio-9p's */

struct cgroup_limits {
	uint64_t memory_bytes;
	uint64_t threads;
	unsigned vcpus; /* at least 1 */
};

_must_check_ int cgroup_limits_write(const char *folder, const char *controller,
				     const struct cgroup_limits *limits, struct error *err);
/* Those of another group of the same controller, whatever they are by now. A quota that is larger
 * than what the groups above leave is left out: theirs holds. */
_must_check_ int cgroup_limits_copy(const char *from, const char *to, const char *controller,
				    struct error *err);
/* The processors' alone. */
_must_check_ int cgroup_limits_write_vcpus(const char *folder, const char *controller,
					   unsigned vcpus, struct error *err);

/* Of the group that machines are in: as much as so many processors would have if each were a group
 * of its own. Else one busy process beside it would be worth as much as all machines. Here a
 * missing file is an error. */
_must_check_ int cgroup_limits_weigh(const char *folder, const char *controller,
				     unsigned processors, struct error *err);
