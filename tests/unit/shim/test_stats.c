/* A guest's statistics in the words of a host's control groups. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "base/memory.h"
#include "proto/cgroups_v1.pb-c.h"
#include "proto/cgroups_v2.pb-c.h"
#include "proto/ttrpc_frame.h"
#include "shim/stats.h"
#include "shim/stats_rows.h"

static Grpc__StatsContainerResponse response = GRPC__STATS_CONTAINER_RESPONSE__INIT;

static void make_response(void)
{
	static Grpc__CgroupStats stats = GRPC__CGROUP_STATS__INIT;
	static Grpc__CpuStats cpu = GRPC__CPU_STATS__INIT;
	static Grpc__CpuUsage usage = GRPC__CPU_USAGE__INIT;
	static Grpc__PidsStats pids = GRPC__PIDS_STATS__INIT;
	static Grpc__MemoryStats memory = GRPC__MEMORY_STATS__INIT;
	static Grpc__MemoryData used = GRPC__MEMORY_DATA__INIT, swapped = GRPC__MEMORY_DATA__INIT;
	static Grpc__BlkioStats io = GRPC__BLKIO_STATS__INIT;
	static Grpc__BlkioStatsEntry read = GRPC__BLKIO_STATS_ENTRY__INIT;
	static Grpc__BlkioStatsEntry write = GRPC__BLKIO_STATS_ENTRY__INIT;
	static Grpc__BlkioStatsEntry *operations[] = { &read, &write };
	static Grpc__CgroupStats__HugetlbStatsEntry size =
		GRPC__CGROUP_STATS__HUGETLB_STATS_ENTRY__INIT;
	static Grpc__CgroupStats__HugetlbStatsEntry *sizes[] = { &size };
	static Grpc__HugetlbStats pages = GRPC__HUGETLB_STATS__INIT;
	static Grpc__NetworkStats card = GRPC__NETWORK_STATS__INIT;
	static Grpc__NetworkStats *cards[] = { &card };
	static Grpc__MemoryStats__StatsEntry lines[4], *list[4];
	static const struct {
		const char *name;
		uint64_t value;
	} facts[] = {
		{ "file", 100 },
		{ "inactive_file", 30 },
		{ "pgfault", 7 },
		{ "events.oom_kill", 2 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(facts); i++) {
		grpc__memory_stats__stats_entry__init(&lines[i]);
		lines[i].key = (char *)facts[i].name;
		lines[i].value = facts[i].value;
		list[i] = &lines[i];
	}
	usage.total_usage = 5000;
	usage.usage_in_usermode = 3000;
	cpu.cpu_usage = &usage;
	pids.current = 3;
	pids.limit = UINT64_MAX;
	used.usage = 4096;
	used.limit = 8192;
	swapped.usage = 10;
	swapped.limit = UINT64_MAX;
	memory.usage = &used;
	memory.swap_usage = &swapped;
	memory.stats = list;
	memory.n_stats = ARRAY_SIZE(list);
	stats.cpu_stats = &cpu;
	stats.pids_stats = &pids;
	stats.memory_stats = &memory;
	read.op = (char *)"Read";
	write.op = (char *)"Write";
	read.major = write.major = 254;
	read.value = 11;
	write.value = 12;
	io.io_service_bytes_recursive = io.io_serviced_recursive = operations;
	io.n_io_service_bytes_recursive = io.n_io_serviced_recursive = ARRAY_SIZE(operations);
	stats.blkio_stats = &io;
	size.key = (char *)"2MB";
	size.value = &pages;
	pages.usage = 1;
	pages.max_usage = 2;
	pages.failcnt = 3;
	stats.hugetlb_stats = sizes;
	stats.n_hugetlb_stats = ARRAY_SIZE(sizes);
	card.name = (char *)"eth0";
	card.rx_bytes = 100;
	card.tx_dropped = 9;
	response.network_stats = cards;
	response.n_network_stats = ARRAY_SIZE(cards);
	response.cgroup_stats = &stats;
}

static void test_v1(void **state _unused_)
{
	Io__Containerd__Cgroups__V1__Metrics *metrics;
	Google__Protobuf__Any any;

	stats_convert(&response, false, true, &any);
	assert_string_equal(any.type_url, "io.containerd.cgroups.v1.Metrics");
	metrics = io__containerd__cgroups__v1__metrics__unpack(NULL, any.value.len, any.value.data);
	assert_non_null(metrics);
	assert_int_equal(metrics->cpu->usage->total, 5000);
	assert_int_equal(metrics->cpu->usage->user, 3000);
	assert_int_equal(metrics->pids->limit, 0); /* none, in v1's words */
	assert_int_equal(metrics->memory->cache, 100);
	assert_int_equal(metrics->memory->total_cache, 100);
	assert_int_equal(metrics->memory->total_inactive_file, 30);
	assert_int_equal(metrics->memory->pg_fault, 7);
	assert_int_equal(metrics->memory->usage->usage, 4096);
	assert_int_equal(metrics->memory->hierarchical_memory_limit, 8192);
	assert_int_equal(metrics->memory->swap->usage, 4106);
	assert_true(metrics->memory->swap->limit == UINT64_MAX);
	assert_non_null(metrics->memory->kernel_tcp); /* CRI-O reads each unasked */
	assert_int_equal(metrics->blkio->n_io_service_bytes_recursive, 2);
	assert_string_equal(metrics->blkio->io_service_bytes_recursive[1]->op, "Write");
	assert_int_equal(metrics->blkio->io_service_bytes_recursive[1]->major, 254);
	assert_int_equal(metrics->blkio->io_service_bytes_recursive[1]->value, 12);
	assert_int_equal(metrics->blkio->n_io_serviced_recursive, 2);
	assert_int_equal(metrics->n_hugetlb, 1);
	assert_string_equal(metrics->hugetlb[0]->pagesize, "2MB");
	assert_int_equal(metrics->hugetlb[0]->usage, 1);
	assert_int_equal(metrics->hugetlb[0]->failcnt, 3);
	assert_int_equal(metrics->n_network, 1);
	assert_string_equal(metrics->network[0]->name, "eth0");
	assert_int_equal(metrics->network[0]->rx_bytes, 100);
	assert_int_equal(metrics->network[0]->tx_dropped, 9);
	assert_int_equal(metrics->memory_oom_control->oom_kill, 2);
	io__containerd__cgroups__v1__metrics__free_unpacked(metrics, NULL);
	free(any.value.data);
}

static void test_v2(void **state _unused_)
{
	Io__Containerd__Cgroups__V2__Metrics *metrics;
	Google__Protobuf__Any any;

	stats_convert(&response, true, true, &any);
	assert_string_equal(any.type_url, "io.containerd.cgroups.v2.Metrics");
	metrics = io__containerd__cgroups__v2__metrics__unpack(NULL, any.value.len, any.value.data);
	assert_non_null(metrics);
	assert_int_equal(metrics->cpu->usage_usec, 5);
	assert_true(metrics->pids->limit == UINT64_MAX);
	assert_int_equal(metrics->memory->file, 100);
	assert_int_equal(metrics->memory->inactive_file, 30);
	assert_int_equal(metrics->memory->usage, 4096);
	assert_int_equal(metrics->memory->swap_usage, 10);
	assert_int_equal(metrics->memory_events->oom_kill, 2);
	assert_int_equal(metrics->io->n_usage, 1);
	assert_int_equal(metrics->io->usage[0]->major, 254);
	assert_int_equal(metrics->io->usage[0]->rbytes, 11);
	assert_int_equal(metrics->io->usage[0]->wios, 12);
	assert_int_equal(metrics->n_hugetlb, 1);
	assert_int_equal(metrics->hugetlb[0]->current, 1);
	assert_int_equal(metrics->hugetlb[0]->max, 2);
	assert_int_equal(metrics->network[0]->tx_dropped, 9);
	io__containerd__cgroups__v2__metrics__free_unpacked(metrics, NULL);
	free(any.value.data);
}

static void test_a_pods_cards_are_not_its_containers(void **state _unused_)
{
	for (int unified = 0; unified < 2; unified++) {
		Google__Protobuf__Any with, without;

		stats_convert(&response, unified, true, &with);
		stats_convert(&response, unified, false, &without);
		assert_true(with.value.len > without.value.len);
		free(with.value.data);
		free(without.value.data);
	}
}

/* What is in the answer of a guest that would have the node's metrics broken: sizes, disks and
 * cards without end, twice the same, and names that no kernel gives. */
static struct {
	Grpc__CgroupStats__HugetlbStatsEntry size[8], *sizes[8];
	Grpc__BlkioStatsEntry disk[1000], *disks[1000];
	Grpc__NetworkStats card[100], *cards[100];
	Grpc__CgroupStats stats;
	Grpc__BlkioStats io;
	Grpc__StatsContainerResponse response;
} hostile;

static void make_hostile(void)
{
	static const char *const sizes[] = { "2MB", "2MB",   "1GB",     "\xff\xfe",
					     "0MB", "2MB\n", "99999KB", "" };
	static const char *const ops[] = { "Read", "Write", "x", "\xff" };
	static const char *const names[] = {
		"eth0", "eth0", "", "\xff", "a b", "a-name-of-16-chr"
	};

	grpc__stats_container_response__init(&hostile.response);
	grpc__cgroup_stats__init(&hostile.stats);
	grpc__blkio_stats__init(&hostile.io);
	for (size_t i = 0; i < ARRAY_SIZE(hostile.size); i++) {
		grpc__cgroup_stats__hugetlb_stats_entry__init(&hostile.size[i]);
		hostile.size[i].key = (char *)sizes[i];
		hostile.sizes[i] = &hostile.size[i];
	}
	for (size_t i = 0; i < ARRAY_SIZE(hostile.disk); i++) {
		grpc__blkio_stats_entry__init(&hostile.disk[i]);
		hostile.disk[i].op = (char *)ops[i % ARRAY_SIZE(ops)];
		hostile.disk[i].minor = i / 8; /* each row twice */
		hostile.disks[i] = &hostile.disk[i];
	}
	for (size_t i = 0; i < ARRAY_SIZE(hostile.card); i++) {
		grpc__network_stats__init(&hostile.card[i]);
		hostile.card[i].name = (char *)names[i % ARRAY_SIZE(names)];
		hostile.cards[i] = &hostile.card[i];
	}
	hostile.stats.hugetlb_stats = hostile.sizes;
	hostile.stats.n_hugetlb_stats = ARRAY_SIZE(hostile.sizes);
	hostile.io.io_serviced_recursive = hostile.io.io_service_bytes_recursive = hostile.disks;
	hostile.io.n_io_serviced_recursive = hostile.io.n_io_service_bytes_recursive = ARRAY_SIZE(
		hostile.disks);
	hostile.stats.blkio_stats = &hostile.io;
	hostile.response.cgroup_stats = &hostile.stats;
	hostile.response.network_stats = hostile.cards;
	hostile.response.n_network_stats = ARRAY_SIZE(hostile.cards);
}

static void test_rows_of_a_hostile_guest_v1(void **state _unused_)
{
	Io__Containerd__Cgroups__V1__Metrics *metrics;
	Google__Protobuf__Any any;

	make_hostile();
	stats_convert(&hostile.response, false, true, &any);
	metrics = io__containerd__cgroups__v1__metrics__unpack(NULL, any.value.len, any.value.data);
	assert_int_equal(metrics->n_hugetlb, 2);
	assert_string_equal(metrics->hugetlb[0]->pagesize, "2MB");
	assert_string_equal(metrics->hugetlb[1]->pagesize, "1GB");
	assert_int_equal(metrics->blkio->n_io_serviced_recursive, STATS_DISK_ROWS_MAX);
	assert_int_equal(metrics->blkio->n_io_service_bytes_recursive, STATS_DISK_ROWS_MAX);
	for (size_t i = 0; i < STATS_DISK_ROWS_MAX; i++) {
		assert_string_equal(metrics->blkio->io_serviced_recursive[i]->op,
				    i % 2 == 0 ? "Read" : "Write");
		assert_int_equal(metrics->blkio->io_serviced_recursive[i]->minor, i / 2);
	}
	assert_int_equal(metrics->n_network, 1);
	assert_string_equal(metrics->network[0]->name, "eth0");
	io__containerd__cgroups__v1__metrics__free_unpacked(metrics, NULL);
	free(any.value.data);
}

static void test_rows_of_a_hostile_guest_v2(void **state _unused_)
{
	Io__Containerd__Cgroups__V2__Metrics *metrics;
	Google__Protobuf__Any any;

	make_hostile();
	stats_convert(&hostile.response, true, true, &any);
	metrics = io__containerd__cgroups__v2__metrics__unpack(NULL, any.value.len, any.value.data);
	assert_int_equal(metrics->n_hugetlb, 2);
	assert_int_equal(metrics->io->n_usage, STATS_DISK_ROWS_MAX / 2);
	assert_int_equal(metrics->n_network, 1);
	io__containerd__cgroups__v2__metrics__free_unpacked(metrics, NULL);
	free(any.value.data);
}

/* A card with a field of the number 0, which protobuf-c unpacks where the number is written longer
 * than it need be, and not once it has packed it again. */
static void test_a_field_that_does_not_exist(void **state _unused_)
{
	static const uint8_t bytes[] = { 0x12, 6, 0x0a, 1, 'e', 0x80, 0, 10 };
	Grpc__StatsContainerResponse *given = (Grpc__StatsContainerResponse *)ttrpc_unpack(
		&grpc__stats_container_response__descriptor, bytes, sizeof(bytes));
	Io__Containerd__Cgroups__V1__Metrics *v1;
	Io__Containerd__Cgroups__V2__Metrics *v2;
	Google__Protobuf__Any any;

	assert_non_null(given);
	stats_convert(given, false, true, &any);
	v1 = io__containerd__cgroups__v1__metrics__unpack(NULL, any.value.len, any.value.data);
	free(any.value.data);
	assert_string_equal(v1->network[0]->name, "e");
	assert_int_equal(v1->network[0]->base.n_unknown_fields, 0);
	stats_convert(given, true, true, &any);
	v2 = io__containerd__cgroups__v2__metrics__unpack(NULL, any.value.len, any.value.data);
	free(any.value.data);
	assert_string_equal(v2->network[0]->name, "e");
	assert_int_equal(v2->network[0]->base.n_unknown_fields, 0);
	io__containerd__cgroups__v1__metrics__free_unpacked(v1, NULL);
	io__containerd__cgroups__v2__metrics__free_unpacked(v2, NULL);
	grpc__stats_container_response__free_unpacked(given, NULL);
}

/* nerdctl ends where blkio is not there. */
static void test_nothing_is_known(void **state _unused_)
{
	static const Grpc__StatsContainerResponse empty = GRPC__STATS_CONTAINER_RESPONSE__INIT;

	for (int unified = 0; unified < 2; unified++) {
		Google__Protobuf__Any any;
		stats_convert(&empty, unified, true, &any);
		assert_true(any.value.len > 0);
		if (!unified) {
			Io__Containerd__Cgroups__V1__Metrics *metrics =
				io__containerd__cgroups__v1__metrics__unpack(NULL, any.value.len,
									     any.value.data);
			assert_non_null(metrics->blkio);
			io__containerd__cgroups__v1__metrics__free_unpacked(metrics, NULL);
		}
		free(any.value.data);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_v1),
		cmocka_unit_test(test_v2),
		cmocka_unit_test(test_a_pods_cards_are_not_its_containers),
		cmocka_unit_test(test_rows_of_a_hostile_guest_v1),
		cmocka_unit_test(test_rows_of_a_hostile_guest_v2),
		cmocka_unit_test(test_a_field_that_does_not_exist),
		cmocka_unit_test(test_nothing_is_known),
	};

	make_response();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
