#include "shim/stats.h"

#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

#include "base/memory.h"
#include "base/strings.h"
#include "proto/cgroups_v1.pb-c.h"
#include "proto/cgroups_v2.pb-c.h"

enum { NS_PER_US = 1000 };

#define EVENTS_PREFIX "events." /* agent/cgroup_stats.h */

/* A prefix of protobuf-c's names, which are long. */
#define V1(name) Io__Containerd__Cgroups__V1__##name
#define V2(name) Io__Containerd__Cgroups__V2__##name

static uint64_t find(const Grpc__MemoryStats *memory, const char *prefix, const char *name)
{
	for (size_t i = 0; memory && i < memory->n_stats; i++) {
		const char *rest = str_after(memory->stats[i]->key, prefix);
		if (str_equal(rest, name))
			return memory->stats[i]->value;
	}
	return 0;
}

/* Every number of the message that the guest has a line for. name_of gives the line's name. */
static void fill(ProtobufCMessage *message, const Grpc__MemoryStats *memory, const char *prefix,
		 const char *(*name_of)(const char *field))
{
	for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
		if (field->type == PROTOBUF_C_TYPE_UINT64)
			*(uint64_t *)((char *)message + field->offset) = find(memory, prefix,
									      name_of(field->name));
	}
}

static void pack(const ProtobufCMessage *message, Google__Protobuf__Any *ret)
{
	*ret = (Google__Protobuf__Any)GOOGLE__PROTOBUF__ANY__INIT;
	ret->type_url = (char *)message->descriptor->name;
	ret->value.data = xcalloc(1, protobuf_c_message_get_packed_size(message) + 1);
	ret->value.len = protobuf_c_message_pack(message, ret->value.data);
}

/* ---------------------------------------------------------------- v1 */

/* v1's names of what v2 counts by another one. */
static const char *v1_line(const char *field)
{
	static const char *const names[][2] = {
		{ "cache", "file" },        { "rss", "anon" },
		{ "rss_huge", "anon_thp" }, { "mapped_file", "file_mapped" },
		{ "dirty", "file_dirty" },  { "writeback", "file_writeback" },
		{ "pg_fault", "pgfault" },  { "pg_maj_fault", "pgmajfault" },
	};
	const char *own = str_after(field, "total_"); /* the guest's are totals, all of them */

	own = own ? own : field;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (str_equal(own, names[i][0]))
			return names[i][1];
	return own;
}

static void set_entry(V1(MemoryEntry) * entry, const Grpc__MemoryData *data)
{
	io__containerd__cgroups__v1__memory_entry__init(entry);
	if (!data)
		return;
	entry->usage = data->usage;
	entry->max = data->max_usage;
	entry->limit = data->limit;
	entry->failcnt = data->failcnt;
}

static void convert_v1(const Grpc__CgroupStats *stats, Google__Protobuf__Any *ret)
{
	V1(Metrics) metrics = IO__CONTAINERD__CGROUPS__V1__METRICS__INIT;
	V1(PidsStat) pids = IO__CONTAINERD__CGROUPS__V1__PIDS_STAT__INIT;
	V1(CPUStat) cpu = IO__CONTAINERD__CGROUPS__V1__CPUSTAT__INIT;
	V1(CPUUsage) usage = IO__CONTAINERD__CGROUPS__V1__CPUUSAGE__INIT;
	V1(Throttle) throttle = IO__CONTAINERD__CGROUPS__V1__THROTTLE__INIT;
	V1(MemoryStat) memory = IO__CONTAINERD__CGROUPS__V1__MEMORY_STAT__INIT;
	V1(MemoryOomControl) oom = IO__CONTAINERD__CGROUPS__V1__MEMORY_OOM_CONTROL__INIT;
	V1(MemoryEntry) entries[3];
	V1(BlkIOStat) blkio = IO__CONTAINERD__CGROUPS__V1__BLK_IOSTAT__INIT;
	const Grpc__MemoryStats *given = stats->memory_stats;
	const Grpc__MemoryData *used = given ? given->usage : NULL;
	const Grpc__MemoryData *swapped = given ? given->swap_usage : NULL;

	if (stats->pids_stats) {
		pids.current = stats->pids_stats->current;
		pids.limit = stats->pids_stats->limit == UINT64_MAX ? 0 : stats->pids_stats->limit;
	}
	if (stats->cpu_stats && stats->cpu_stats->cpu_usage) {
		usage.total = stats->cpu_stats->cpu_usage->total_usage;
		usage.kernel = stats->cpu_stats->cpu_usage->usage_in_kernelmode;
		usage.user = stats->cpu_stats->cpu_usage->usage_in_usermode;
	}
	if (stats->cpu_stats && stats->cpu_stats->throttling_data) {
		throttle.periods = stats->cpu_stats->throttling_data->periods;
		throttle.throttled_periods = stats->cpu_stats->throttling_data->throttled_periods;
		throttle.throttled_time = stats->cpu_stats->throttling_data->throttled_time;
	}
	fill(&memory.base, given, "", v1_line);
	set_entry(&entries[0], used);
	set_entry(&entries[1], swapped);
	set_entry(&entries[2], given ? given->kernel_usage : NULL);
	if (used && swapped) {
		/* v1 counts memory and swap together. */
		entries[1].usage += used->usage;
		entries[1].limit = used->limit > UINT64_MAX - swapped->limit
					   ? UINT64_MAX
					   : used->limit + swapped->limit;
	}
	memory.hierarchical_memory_limit = used ? used->limit : 0;
	memory.usage = &entries[0];
	memory.swap = &entries[1];
	memory.kernel = &entries[2];
	oom.oom_kill = find(given, EVENTS_PREFIX, "oom_kill");
	cpu.usage = &usage;
	cpu.throttling = &throttle;
	metrics.pids = &pids;
	metrics.cpu = &cpu;
	metrics.memory = &memory;
	metrics.blkio = &blkio;
	metrics.memory_oom_control = &oom;
	pack(&metrics.base, ret);
}

/* ---------------------------------------------------------------- v2 */

static const char *v2_line(const char *field)
{
	return field;
}

static void convert_v2(const Grpc__CgroupStats *stats, Google__Protobuf__Any *ret)
{
	V2(Metrics) metrics = IO__CONTAINERD__CGROUPS__V2__METRICS__INIT;
	V2(PidsStat) pids = IO__CONTAINERD__CGROUPS__V2__PIDS_STAT__INIT;
	V2(CPUStat) cpu = IO__CONTAINERD__CGROUPS__V2__CPUSTAT__INIT;
	V2(MemoryStat) memory = IO__CONTAINERD__CGROUPS__V2__MEMORY_STAT__INIT;
	V2(MemoryEvents) events = IO__CONTAINERD__CGROUPS__V2__MEMORY_EVENTS__INIT;
	V2(IOStat) io = IO__CONTAINERD__CGROUPS__V2__IOSTAT__INIT;
	const Grpc__MemoryStats *given = stats->memory_stats;

	if (stats->pids_stats) {
		pids.current = stats->pids_stats->current;
		pids.limit = stats->pids_stats->limit;
	}
	if (stats->cpu_stats && stats->cpu_stats->cpu_usage) {
		cpu.usage_usec = stats->cpu_stats->cpu_usage->total_usage / NS_PER_US;
		cpu.user_usec = stats->cpu_stats->cpu_usage->usage_in_usermode / NS_PER_US;
		cpu.system_usec = stats->cpu_stats->cpu_usage->usage_in_kernelmode / NS_PER_US;
	}
	if (stats->cpu_stats && stats->cpu_stats->throttling_data) {
		cpu.nr_periods = stats->cpu_stats->throttling_data->periods;
		cpu.nr_throttled = stats->cpu_stats->throttling_data->throttled_periods;
		cpu.throttled_usec = stats->cpu_stats->throttling_data->throttled_time / NS_PER_US;
	}
	fill(&memory.base, given, "", v2_line);
	fill(&events.base, given, EVENTS_PREFIX, v2_line);
	if (given && given->usage) {
		memory.usage = given->usage->usage;
		memory.usage_limit = given->usage->limit;
		memory.max_usage = given->usage->max_usage;
	}
	if (given && given->swap_usage) {
		memory.swap_usage = given->swap_usage->usage;
		memory.swap_limit = given->swap_usage->limit;
		memory.swap_max_usage = given->swap_usage->max_usage;
	}
	metrics.pids = &pids;
	metrics.cpu = &cpu;
	metrics.memory = &memory;
	metrics.io = &io;
	metrics.memory_events = &events;
	pack(&metrics.base, ret);
}

bool stats_host_is_unified(void)
{
	struct statfs fs;

	return statfs("/sys/fs/cgroup", &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

void stats_convert(const Grpc__StatsContainerResponse *stats, bool unified,
		   Google__Protobuf__Any *ret)
{
	static const Grpc__CgroupStats none = GRPC__CGROUP_STATS__INIT;
	const Grpc__CgroupStats *cgroup = stats->cgroup_stats ? stats->cgroup_stats : &none;

	if (unified)
		convert_v2(cgroup, ret);
	else
		convert_v1(cgroup, ret);
}
