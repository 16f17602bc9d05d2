#include "shim/limits.h"

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

static uint64_t divide_up(uint64_t value, uint64_t by)
{
	return value / by + (value % by > 0);
}

uint64_t limits_vcpus(const struct limits *limits)
{
	return divide_up(limits->quota, limits->period > 0 ? limits->period : KERNEL_PERIOD_US);
}

uint64_t limits_memory_mib(const struct limits *limits)
{
	return divide_up(limits->memory, MIB);
}
