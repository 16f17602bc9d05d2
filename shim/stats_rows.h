/* Which rows of a guest's statistics the node's monitoring is told of. Their names become labels:
 * containerd's collector makes series of them, so that a name that comes twice fails the page of
 * all pods, one that is no UTF-8 ends containerd 1.6, and names that are others each time fill
 * Prometheus. A row is taken where its name is one that a kernel gives, and the first time that it
 * comes; what is beyond the bounds is left out. */
#pragma once

#include <stddef.h>

#include "proto/agent.pb-c.h"

enum {
	STATS_SIZES_MAX = 8,       /* of huge pages; x86-64 has two */
	STATS_DISK_ROWS_MAX = 128, /* a disk has two: "Read" and "Write" */
	STATS_CARDS_MAX = 32,
};

/* All borrowed from the answer. `struct stats_rows rows = {};` has none. */
struct stats_rows {
	const Grpc__CgroupStats__HugetlbStatsEntry *sizes[STATS_SIZES_MAX]; /* "2MB" */
	const Grpc__BlkioStatsEntry *disk_bytes[STATS_DISK_ROWS_MAX];
	const Grpc__BlkioStatsEntry *disk_operations[STATS_DISK_ROWS_MAX];
	const Grpc__NetworkStats *cards[STATS_CARDS_MAX];
	size_t nsizes, ndisk_bytes, ndisk_operations, ncards;
};

void stats_rows_choose(const Grpc__StatsContainerResponse *stats, struct stats_rows *ret);
