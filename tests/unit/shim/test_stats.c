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
#include "shim/stats.h"

static Grpc__StatsContainerResponse response = GRPC__STATS_CONTAINER_RESPONSE__INIT;

static void make_response(void)
{
	static Grpc__CgroupStats stats = GRPC__CGROUP_STATS__INIT;
	static Grpc__CpuStats cpu = GRPC__CPU_STATS__INIT;
	static Grpc__CpuUsage usage = GRPC__CPU_USAGE__INIT;
	static Grpc__PidsStats pids = GRPC__PIDS_STATS__INIT;
	static Grpc__MemoryStats memory = GRPC__MEMORY_STATS__INIT;
	static Grpc__MemoryData used = GRPC__MEMORY_DATA__INIT, swapped = GRPC__MEMORY_DATA__INIT;
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
	response.cgroup_stats = &stats;
}

static void test_v1(void **state _unused_)
{
	Io__Containerd__Cgroups__V1__Metrics *metrics;
	Google__Protobuf__Any any;

	stats_convert(&response, false, &any);
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
	assert_non_null(metrics->blkio); /* nerdctl ends where it is not there */
	assert_int_equal(metrics->memory_oom_control->oom_kill, 2);
	io__containerd__cgroups__v1__metrics__free_unpacked(metrics, NULL);
	free(any.value.data);
}

static void test_v2(void **state _unused_)
{
	Io__Containerd__Cgroups__V2__Metrics *metrics;
	Google__Protobuf__Any any;

	stats_convert(&response, true, &any);
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
	io__containerd__cgroups__v2__metrics__free_unpacked(metrics, NULL);
	free(any.value.data);
}

static void test_nothing_is_known(void **state _unused_)
{
	static const Grpc__StatsContainerResponse empty = GRPC__STATS_CONTAINER_RESPONSE__INIT;

	for (int unified = 0; unified < 2; unified++) {
		Google__Protobuf__Any any;
		stats_convert(&empty, unified, &any);
		assert_true(any.value.len > 0);
		free(any.value.data);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_v1),
		cmocka_unit_test(test_v2),
		cmocka_unit_test(test_nothing_is_known),
	};

	make_response();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
