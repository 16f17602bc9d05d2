#include "shim/stats.h"

#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

#include "base/memory.h"
#include "base/strings.h"
#include "proto/cgroups_v1.pb-c.h"
#include "proto/cgroups_v2.pb-c.h"
#include "shim/stats_rows.h"

enum { NS_PER_US = 1000 };

#define EVENTS_PREFIX "events." /* agent/cgroup_stats.h */

/* A prefix of protobuf-c's names, which are long. */
#define V1(name) Io__Containerd__Cgroups__V1__##name
#define V2(name) Io__Containerd__Cgroups__V2__##name

/* Borrowed. */
struct given {
	const Grpc__CgroupStats *cgroup;
	struct stats_rows rows;
};

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

/* The agent's message has the fields of containerd's two, by the same numbers. What a guest adds to
 * them stays behind. The caller frees. */
static void *convert_card(const Grpc__NetworkStats *given, const ProtobufCMessageDescriptor *as)
{
	ProtobufCMessage *card = xcalloc(1, as->sizeof_message);

	protobuf_c_message_init(as, card);
	for (unsigned i = 0; i < as->n_fields; i++) {
		const ProtobufCFieldDescriptor *to = &as->fields[i];
		const ProtobufCFieldDescriptor *from = protobuf_c_message_descriptor_get_field(
			given->base.descriptor, to->id);
		const char *value = (const char *)given + from->offset;
		char *copy = (char *)card + to->offset;

		if (to->type == PROTOBUF_C_TYPE_STRING)
			*(char **)copy = xstrdup(*(char *const *)value);
		else
			*(uint64_t *)copy = *(const uint64_t *)value;
	}
	return card;
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

/* The caller frees. */
static V1(BlkIOEntry) * *convert_disks_v1(const Grpc__BlkioStatsEntry *const *given, size_t count)
{
	V1(BlkIOEntry) **list = xnew_array(V1(BlkIOEntry) *, count + 1);

	for (size_t i = 0; i < count; i++) {
		list[i] = xnew(V1(BlkIOEntry));
		io__containerd__cgroups__v1__blk_ioentry__init(list[i]);
		list[i]->op = xstrdup(given[i]->op);
		list[i]->major = given[i]->major;
		list[i]->minor = given[i]->minor;
		list[i]->value = given[i]->value;
	}
	return list;
}

/* Of these the guest's kernel counts bytes and operations. The caller frees. */
static V1(BlkIOStat) * convert_block_io_v1(const struct stats_rows *rows)
{
	V1(BlkIOStat) *io = xnew(V1(BlkIOStat));

	io__containerd__cgroups__v1__blk_iostat__init(io);
	io->n_io_service_bytes_recursive = rows->ndisk_bytes;
	io->io_service_bytes_recursive = convert_disks_v1(rows->disk_bytes, rows->ndisk_bytes);
	io->n_io_serviced_recursive = rows->ndisk_operations;
	io->io_serviced_recursive = convert_disks_v1(rows->disk_operations, rows->ndisk_operations);
	return io;
}

/* The caller frees. */
static V1(HugetlbStat) * convert_page_size_v1(const Grpc__CgroupStats__HugetlbStatsEntry *given)
{
	V1(HugetlbStat) *pages = xnew(V1(HugetlbStat));

	io__containerd__cgroups__v1__hugetlb_stat__init(pages);
	pages->pagesize = xstrdup(given->key);
	if (given->value) {
		pages->usage = given->value->usage;
		pages->failcnt = given->value->failcnt; /* no peak is kept of them */
	}
	return pages;
}

/* What has a memory of its own; the caller frees. */
static V1(Metrics) * convert_lists_v1(const struct stats_rows *rows)
{
	V1(Metrics) *lists = xnew(V1(Metrics));

	io__containerd__cgroups__v1__metrics__init(lists);
	lists->blkio = convert_block_io_v1(rows);
	lists->hugetlb = xnew_array(V1(HugetlbStat) *, rows->nsizes + 1);
	for (size_t i = 0; i < rows->nsizes; i++)
		lists->hugetlb[lists->n_hugetlb++] = convert_page_size_v1(rows->sizes[i]);
	lists->network = xnew_array(V1(NetworkStat) *, rows->ncards + 1);
	for (size_t i = 0; i < rows->ncards; i++)
		lists->network[lists->n_network++] = convert_card(
			rows->cards[i], &io__containerd__cgroups__v1__network_stat__descriptor);
	return lists;
}

static void convert_v1(const struct given *all, Google__Protobuf__Any *ret)
{
	const Grpc__CgroupStats *stats = all->cgroup;
	V1(Metrics) *lists = convert_lists_v1(&all->rows);
	V1(Metrics) metrics = IO__CONTAINERD__CGROUPS__V1__METRICS__INIT;
	V1(PidsStat) pids = IO__CONTAINERD__CGROUPS__V1__PIDS_STAT__INIT;
	V1(CPUStat) cpu = IO__CONTAINERD__CGROUPS__V1__CPUSTAT__INIT;
	V1(CPUUsage) usage = IO__CONTAINERD__CGROUPS__V1__CPUUSAGE__INIT;
	V1(Throttle) throttle = IO__CONTAINERD__CGROUPS__V1__THROTTLE__INIT;
	V1(MemoryStat) memory = IO__CONTAINERD__CGROUPS__V1__MEMORY_STAT__INIT;
	V1(MemoryOomControl) oom = IO__CONTAINERD__CGROUPS__V1__MEMORY_OOM_CONTROL__INIT;
	V1(MemoryEntry) entries[4];
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
	set_entry(&entries[3], NULL);
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
	memory.kernel_tcp = &entries[3]; /* the guest does not count it; CRI-O reads it unasked */
	oom.oom_kill = find(given, EVENTS_PREFIX, "oom_kill");
	cpu.usage = &usage;
	cpu.throttling = &throttle;
	metrics.pids = &pids;
	metrics.cpu = &cpu;
	metrics.memory = &memory;
	metrics.blkio = lists->blkio;
	metrics.hugetlb = lists->hugetlb;
	metrics.n_hugetlb = lists->n_hugetlb;
	metrics.network = lists->network;
	metrics.n_network = lists->n_network;
	metrics.memory_oom_control = &oom;
	pack(&metrics.base, ret);
	io__containerd__cgroups__v1__metrics__free_unpacked(lists, NULL);
}

/* ---------------------------------------------------------------- v2 */

static const char *v2_line(const char *field)
{
	return field;
}

static V2(IOEntry) * find_disk(V2(IOStat) * io, const Grpc__BlkioStatsEntry *wanted)
{
	V2(IOEntry) * disk;

	for (size_t i = 0; i < io->n_usage; i++)
		if (io->usage[i]->major == wanted->major && io->usage[i]->minor == wanted->minor)
			return io->usage[i];
	disk = io->usage[io->n_usage++] = xnew(V2(IOEntry));
	io__containerd__cgroups__v2__ioentry__init(disk);
	disk->major = wanted->major;
	disk->minor = wanted->minor;
	return disk;
}

/* A row a disk, where the agent has one an operation. The caller frees. */
static V2(IOStat) * convert_block_io_v2(const struct stats_rows *rows)
{
	V2(IOStat) *io = xnew(V2(IOStat));

	io__containerd__cgroups__v2__iostat__init(io);
	io->usage = xnew_array(V2(IOEntry) *, rows->ndisk_bytes + rows->ndisk_operations + 1);
	for (size_t i = 0; i < rows->ndisk_bytes; i++) {
		const Grpc__BlkioStatsEntry *row = rows->disk_bytes[i];
		V2(IOEntry) *disk = find_disk(io, row);
		*(str_equal(row->op, "Read") ? &disk->rbytes : &disk->wbytes) = row->value;
	}
	for (size_t i = 0; i < rows->ndisk_operations; i++) {
		const Grpc__BlkioStatsEntry *row = rows->disk_operations[i];
		V2(IOEntry) *disk = find_disk(io, row);
		*(str_equal(row->op, "Read") ? &disk->rios : &disk->wios) = row->value;
	}
	return io;
}

/* The caller frees. */
static V2(HugeTlbStat) * convert_page_size_v2(const Grpc__CgroupStats__HugetlbStatsEntry *given)
{
	V2(HugeTlbStat) *pages = xnew(V2(HugeTlbStat));

	io__containerd__cgroups__v2__huge_tlb_stat__init(pages);
	pages->pagesize = xstrdup(given->key);
	if (given->value) {
		pages->current = given->value->usage;
		pages->max = given->value->max_usage; /* agent/cgroup_stats.h */
		pages->failcnt = given->value->failcnt;
	}
	return pages;
}

/* What has a memory of its own; the caller frees. */
static V2(Metrics) * convert_lists_v2(const struct stats_rows *rows)
{
	V2(Metrics) *lists = xnew(V2(Metrics));

	io__containerd__cgroups__v2__metrics__init(lists);
	lists->io = convert_block_io_v2(rows);
	lists->hugetlb = xnew_array(V2(HugeTlbStat) *, rows->nsizes + 1);
	for (size_t i = 0; i < rows->nsizes; i++)
		lists->hugetlb[lists->n_hugetlb++] = convert_page_size_v2(rows->sizes[i]);
	lists->network = xnew_array(V2(NetworkStat) *, rows->ncards + 1);
	for (size_t i = 0; i < rows->ncards; i++)
		lists->network[lists->n_network++] = convert_card(
			rows->cards[i], &io__containerd__cgroups__v2__network_stat__descriptor);
	return lists;
}

static void convert_v2(const struct given *all, Google__Protobuf__Any *ret)
{
	const Grpc__CgroupStats *stats = all->cgroup;
	V2(Metrics) *lists = convert_lists_v2(&all->rows);
	V2(Metrics) metrics = IO__CONTAINERD__CGROUPS__V2__METRICS__INIT;
	V2(PidsStat) pids = IO__CONTAINERD__CGROUPS__V2__PIDS_STAT__INIT;
	V2(CPUStat) cpu = IO__CONTAINERD__CGROUPS__V2__CPUSTAT__INIT;
	V2(MemoryStat) memory = IO__CONTAINERD__CGROUPS__V2__MEMORY_STAT__INIT;
	V2(MemoryEvents) events = IO__CONTAINERD__CGROUPS__V2__MEMORY_EVENTS__INIT;
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
	metrics.io = lists->io;
	metrics.hugetlb = lists->hugetlb;
	metrics.n_hugetlb = lists->n_hugetlb;
	metrics.network = lists->network;
	metrics.n_network = lists->n_network;
	metrics.memory_events = &events;
	pack(&metrics.base, ret);
	io__containerd__cgroups__v2__metrics__free_unpacked(lists, NULL);
}

bool stats_host_is_unified(void)
{
	struct statfs fs;

	return statfs("/sys/fs/cgroup", &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

void stats_convert(const Grpc__StatsContainerResponse *stats, bool unified, bool has_network,
		   Google__Protobuf__Any *ret)
{
	static const Grpc__CgroupStats none = GRPC__CGROUP_STATS__INIT;
	struct given given = { .cgroup = stats->cgroup_stats ? stats->cgroup_stats : &none };

	stats_rows_choose(stats, &given.rows);
	if (!has_network)
		given.rows.ncards = 0;
	if (unified)
		convert_v2(&given, ret);
	else
		convert_v1(&given, ret);
}
