/* How a process is scheduled: process.scheduler, process.ioPriority and linux.personality of the
 * OCI specification. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "proto/oci.pb-c.h"

struct schedule_plan {
	bool has_policy;
	uint32_t policy; /* SCHED_* of linux/sched.h */
	uint64_t flags;  /* SCHED_FLAG_* */
	int32_t nice;
	uint32_t priority;
	uint64_t runtime_ns, deadline_ns, period_ns;
	int io_priority; /* for ioprio_set(2); negative: not given */
};

/* -EINVAL for a policy, flag, class or number that is none. */
_must_check_ int schedule_plan_init(const Grpc__Process *process, struct schedule_plan *ret,
				    struct error *err);

/* For the child, while it has the rights for it; programs inherit both. */
_must_check_ int schedule_apply(const struct schedule_plan *plan, struct error *err);

/* For the child. linux may be NULL. */
_must_check_ int personality_check(const Grpc__Linux *linux, struct error *err);
_must_check_ int personality_set(const Grpc__Linux *linux, struct error *err);
