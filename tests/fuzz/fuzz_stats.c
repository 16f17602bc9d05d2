/* Bytes as a guest's answer to StatsContainer: what becomes labels of the node's metrics is
 * bounded, printable, and there once. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/cgroups_v1.pb-c.h"
#include "proto/cgroups_v2.pb-c.h"
#include "proto/ttrpc_frame.h"
#include "shim/stats.h"
#include "shim/stats_rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_name(const char *name)
{
	for (const char *c = name; *c; c++)
		if (*c <= ' ' || *c > '~')
			abort();
}

static void check_v1(const Google__Protobuf__Any *any)
{
	Io__Containerd__Cgroups__V1__Metrics *metrics =
		io__containerd__cgroups__v1__metrics__unpack(NULL, any->value.len, any->value.data);

	if (!metrics || metrics->n_hugetlb > STATS_SIZES_MAX ||
	    metrics->n_network > STATS_CARDS_MAX ||
	    metrics->blkio->n_io_serviced_recursive > STATS_DISK_ROWS_MAX ||
	    metrics->blkio->n_io_service_bytes_recursive > STATS_DISK_ROWS_MAX)
		abort();
	for (size_t i = 0; i < metrics->n_hugetlb; i++) {
		check_name(metrics->hugetlb[i]->pagesize);
		for (size_t j = 0; j < i; j++)
			if (strcmp(metrics->hugetlb[i]->pagesize, metrics->hugetlb[j]->pagesize) ==
			    0)
				abort();
	}
	for (size_t i = 0; i < metrics->n_network; i++)
		check_name(metrics->network[i]->name);
	io__containerd__cgroups__v1__metrics__free_unpacked(metrics, NULL);
}

static void check_v2(const Google__Protobuf__Any *any)
{
	Io__Containerd__Cgroups__V2__Metrics *metrics =
		io__containerd__cgroups__v2__metrics__unpack(NULL, any->value.len, any->value.data);

	if (!metrics || metrics->io->n_usage > 2 * STATS_DISK_ROWS_MAX)
		abort();
	io__containerd__cgroups__v2__metrics__free_unpacked(metrics, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Grpc__StatsContainerResponse *stats = (Grpc__StatsContainerResponse *)ttrpc_unpack(
		&grpc__stats_container_response__descriptor, data, size);
	Google__Protobuf__Any any;

	if (!stats)
		return 0;
	stats_convert(stats, false, true, &any);
	check_v1(&any);
	free(any.value.data);
	stats_convert(stats, true, true, &any);
	check_v2(&any);
	free(any.value.data);
	grpc__stats_container_response__free_unpacked(stats, NULL);
	return 0;
}
