#include "agent/schedule.h"

#include <linux/ioprio.h>
#include <linux/sched/types.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/strings.h"

/* linux/sched.h, whose other names are those of sched.h. */
enum { POLICY_DEADLINE = 6, POLICY_ISO = 4 };
enum { NICE_MIN = -20, NICE_MAX = 19, NOT_GIVEN = -1 };

struct word {
	const char *name;
	uint64_t value;
};

static const struct word policies[] = {
	{ "SCHED_OTHER", 0 },
	{ "SCHED_FIFO", 1 },
	{ "SCHED_RR", 2 },
	{ "SCHED_BATCH", 3 },
	{ "SCHED_ISO", POLICY_ISO },
	{ "SCHED_IDLE", 5 },
	{ "SCHED_DEADLINE", POLICY_DEADLINE },
};

static const struct word flags[] = {
	{ "SCHED_FLAG_RESET_ON_FORK", 0x01 },  { "SCHED_FLAG_RECLAIM", 0x02 },
	{ "SCHED_FLAG_DL_OVERRUN", 0x04 },     { "SCHED_FLAG_KEEP_POLICY", 0x08 },
	{ "SCHED_FLAG_KEEP_PARAMS", 0x10 },    { "SCHED_FLAG_UTIL_CLAMP_MIN", 0x20 },
	{ "SCHED_FLAG_UTIL_CLAMP_MAX", 0x40 },
};

static const struct word classes[] = {
	{ "IOPRIO_CLASS_RT", IOPRIO_CLASS_RT },
	{ "IOPRIO_CLASS_BE", IOPRIO_CLASS_BE },
	{ "IOPRIO_CLASS_IDLE", IOPRIO_CLASS_IDLE },
};

static int word_find(const struct word *words, size_t count, const char *name, const char *what,
		     uint64_t *ret, struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		if (!str_equal(words[i].name, name))
			continue;
		*ret = words[i].value;
		return 0;
	}
	return error_set(err, EINVAL, "%s \"%.64s\" is unknown", what, name);
}

static int parse_scheduler(const Grpc__Scheduler *scheduler, struct schedule_plan *plan,
			   struct error *err)
{
	uint64_t policy = 0, flag = 0;
	int r = word_find(policies, ARRAY_SIZE(policies), scheduler->policy,
			  "process.scheduler.policy", &policy, err);

	for (size_t i = 0; r == 0 && i < scheduler->n_flags; i++) {
		r = word_find(flags, ARRAY_SIZE(flags), scheduler->flags[i],
			      "process.scheduler.flags", &flag, err);
		if (r == 0)
			plan->flags |= flag;
	}
	if (r == 0 && (scheduler->nice < NICE_MIN || scheduler->nice > NICE_MAX))
		r = error_set(err, EINVAL, "process.scheduler.nice must be from -20 to 19");
	if (r == 0 && scheduler->priority < 0)
		r = error_set(err, EINVAL, "process.scheduler.priority is negative");
	plan->has_policy = true;
	plan->policy = (uint32_t)policy;
	plan->nice = scheduler->nice;
	plan->priority = (uint32_t)scheduler->priority;
	plan->runtime_ns = scheduler->runtime;
	plan->deadline_ns = scheduler->deadline;
	plan->period_ns = scheduler->period;
	return r;
}

static int parse_io_priority(const Grpc__LinuxIOPriority *io, struct schedule_plan *plan,
			     struct error *err)
{
	uint64_t class = 0;
	int r = word_find(classes, ARRAY_SIZE(classes), io->class_, "process.ioPriority.class",
			  &class, err);

	if (r == 0 && (io->priority < 0 || io->priority >= IOPRIO_NR_LEVELS))
		r = error_set(err, EINVAL, "process.ioPriority.priority must be from 0 to 7");
	plan->io_priority = IOPRIO_PRIO_VALUE((int)class, (int)io->priority);
	return r;
}

int schedule_plan_init(const Grpc__Process *process, struct schedule_plan *ret, struct error *err)
{
	struct schedule_plan plan = { .io_priority = NOT_GIVEN };
	int r = 0;

	if (process->scheduler)
		r = parse_scheduler(process->scheduler, &plan, err);
	if (r == 0 && process->iopriority)
		r = parse_io_priority(process->iopriority, &plan, err);
	if (r == 0)
		*ret = plan;
	return r;
}

int schedule_apply(const struct schedule_plan *plan, struct error *err)
{
	struct sched_attr attr = {
		.size = sizeof(attr),
		.sched_policy = plan->policy,
		.sched_flags = plan->flags,
		.sched_nice = plan->nice,
		.sched_priority = plan->priority,
		.sched_runtime = plan->runtime_ns,
		.sched_deadline = plan->deadline_ns,
		.sched_period = plan->period_ns,
	};

	if (plan->has_policy && syscall(SYS_sched_setattr, 0, &attr, 0) < 0)
		return error_set_errno(err, errno, "cannot set process.scheduler");
	if (plan->io_priority != NOT_GIVEN &&
	    syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, plan->io_priority) < 0)
		return error_set_errno(err, errno, "cannot set process.ioPriority");
	return 0;
}

/* ---------------------------------------------------------------- personality */

static const struct word domains[] = { { "LINUX", PER_LINUX }, { "LINUX32", PER_LINUX32 } };

static int parse_personality(const Grpc__LinuxPersonality *wanted, uint64_t *ret, struct error *err)
{
	if (wanted->n_flags > 0)
		return error_set(err, EINVAL, "linux.personality.flags \"%.64s\" is unknown",
				 wanted->flags[0]);
	return word_find(domains, ARRAY_SIZE(domains), wanted->domain, "linux.personality.domain",
			 ret, err);
}

int personality_check(const Grpc__Linux *linux, struct error *err)
{
	uint64_t domain;

	return linux && linux->personality ? parse_personality(linux->personality, &domain, err)
					   : 0;
}

int personality_set(const Grpc__Linux *linux, struct error *err)
{
	uint64_t domain = 0;
	int r = 0;

	if (!linux || !linux->personality)
		return 0;
	r = parse_personality(linux->personality, &domain, err);
	if (r == 0 && personality(domain) < 0)
		return error_set_errno(err, errno, "cannot set linux.personality");
	return r;
}
