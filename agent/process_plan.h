/* The plan of a container's process: read from an OCI Process, and checked before anything is
 * cloned. Plain data: the child has its own copy after the clone.
 */
#pragma once

#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#include "agent/caps.h"
#include "agent/schedule.h"
#include "agent/user.h"
#include "base/error.h"
#include "proto/oci.pb-c.h"

struct limit_plan {
	int resource; /* RLIMIT_* */
	struct rlimit limit;
};

struct process_plan {
	const Grpc__Process *process; /* borrowed: cwd, flags */
	char **args;                  /* owned array of borrowed strings, NULL at the end */
	char **env; /* the same, with each variable once, and room for one more before the NULL */
	size_t nenv;
	struct limit_plan *limits; /* owned */
	size_t nlimits;
	struct user_plan user; /* the child completes it */
	struct caps caps;
	struct schedule_plan schedule;
	mode_t mask;           /* of the files it makes */
	struct winsize window; /* of a terminal */
};

/* user_names: of the request, or NULL. Both must outlive the plan. */
_must_check_ int process_plan_init(const Grpc__Process *process, const Grpc__StringUser *user_names,
				   struct process_plan *ret, struct error *err);
void process_plan_done(struct process_plan *plan);

/* Value of a variable in the plan's environment; NULL where it has none. */
const char *process_plan_getenv(const struct process_plan *plan, const char *name);
