/* What a container has used, from its cgroup (v2), in the words of Kata's agent protocol.
 *
 * memory_stats.stats has every line of memory.stat by its name, and those of memory.events with
 * "events." before theirs. Block devices and huge pages are not counted: their controllers are not
 * on in a guest (cgroup_enable_basic()). No limit is UINT64_MAX.
 */
#pragma once

#include "base/error.h"
#include "proto/agent.pb-c.h"

/* dir: the cgroup's folder, borrowed. The caller frees *ret with
 * grpc__stats_container_response__free_unpacked(). */
_must_check_ int cgroup_stats_read(int dir, Grpc__StatsContainerResponse **ret, struct error *err);
