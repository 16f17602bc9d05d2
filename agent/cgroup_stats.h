/* What a container has used, from its cgroup (v2), in the words of Kata's agent protocol.
 *
 * memory_stats.stats has every line of memory.stat by its name, and those of memory.events with
 * "events." before theirs. No limit is UINT64_MAX. Block devices are counted from the time on that
 * cgroup_count_block_io() was asked for, with the guest's numbers; huge pages where a container has
 * had a limit of them. max_usage of huge pages is their limit: v2 knows no peak of them.
 */
#pragma once

#include "base/error.h"
#include "proto/agent.pb-c.h"

/* dir: the cgroup's folder, borrowed. The caller frees *ret with
 * grpc__stats_container_response__free_unpacked(). */
_must_check_ int cgroup_stats_read(int dir, Grpc__StatsContainerResponse **ret, struct error *err);

/* The same of the whole guest, kernel and agent too: memory that is not free of all there is, and
 * threads for pids. */
_must_check_ int cgroup_stats_read_guest(Grpc__StatsContainerResponse **ret, struct error *err);
