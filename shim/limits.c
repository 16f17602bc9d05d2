#include "shim/limits.h"

#include <inttypes.h>
#include <stdbool.h>

#define KERNEL_PERIOD_US 100000
#define MIB              ((uint64_t)1 << 20)

static void take_memory(struct limits *limits, int64_t limit)
{
	if (limit == 0)
		return;
	limits->memory = limit > 0 ? (uint64_t)limit : 0;
	if (limits_memory_mib(limits) > LIMITS_MEMORY_MAX_MIB)
		limits->memory = 0;
}

static void take_time(struct limits *limits, const Grpc__LinuxCPU *cpu)
{
	if (cpu->period > 0)
		limits->period = cpu->period;
	if (cpu->quota != 0)
		limits->quota = cpu->quota > 0 ? (uint64_t)cpu->quota : 0;
	if (limits_vcpus(limits) > LIMITS_VCPUS_MAX)
		limits->quota = 0;
}

void limits_take(struct limits *limits, const Grpc__LinuxResources *resources)
{
	if (resources && resources->memory)
		take_memory(limits, resources->memory->limit);
	if (resources && resources->cpu)
		take_time(limits, resources->cpu);
}

static uint64_t period_of(const struct limits *limits)
{
	return limits->period > 0 ? limits->period : KERNEL_PERIOD_US;
}

static uint64_t divide_up(uint64_t value, uint64_t by)
{
	return value / by + (value % by > 0);
}

uint64_t limits_vcpus(const struct limits *limits)
{
	return divide_up(limits->quota, period_of(limits));
}

uint64_t limits_memory_mib(const struct limits *limits)
{
	return divide_up(limits->memory, MIB);
}

static double processors(const struct limits *limits)
{
	return (double)limits->quota / (double)period_of(limits);
}

int limits_check_update(const struct limits *now, const struct limits *next, uint32_t vcpus,
			uint32_t memory_mib, struct error *err)
{
	bool more_memory = now->memory == 0 || next->memory > now->memory;
	bool more_time = now->quota == 0 || processors(next) > processors(now);

	if (memory_mib > 0 && more_memory && limits_memory_mib(next) > memory_mib)
		return error_set(err, EBUSY,
				 "a memory limit of %" PRIu64 " MiB is wanted, and the machine has "
				 "%" PRIu32 " and does not grow while it runs: a new pod or "
				 "container with this limit gets one that large",
				 limits_memory_mib(next), memory_mib);
	if (vcpus > 0 && more_time && limits_vcpus(next) > vcpus)
		return error_set(err, EBUSY,
				 "a limit of %.2f processors is wanted, and the machine has "
				 "%" PRIu32 " and does not grow while it runs: a new pod or "
				 "container with this limit gets one that large",
				 processors(next), vcpus);
	return 0;
}
