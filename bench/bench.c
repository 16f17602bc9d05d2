#include "bench/bench.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

static const char *const count_names[] = {
	[COUNT_BOOTS] = "boots",
	[COUNT_CLONES] = "clones",
	[COUNT_CLAIMS] = "claims",
	[COUNT_MANY_CLAIMS] = "many-claims",
	[COUNT_PARKED] = "parked",
	[COUNT_FIRST_EXECS] = "first-execs",
	[COUNT_COLD_EXECS] = "cold-execs",
	[COUNT_CTRS] = "ctrs",
	[COUNT_BURST] = "burst",
	[COUNT_BURST_POOL] = "burst-pool",
	[COUNT_BURSTS] = "bursts",
	[COUNT_SUSTAIN_SECONDS] = "sustain-seconds",
	[COUNT_DENSITY_MOST] = "density-most",
	[COUNT_DENSITY_UNSHARED] = "density-unshared",
	[COUNT_ROOTS] = "roots",
	[COUNT_IMAGES] = "images",
	[COUNT_PODS] = "pods",
	[COUNT_CRUNS] = "cruns",
	[COUNT_METRICS] = "metrics",
	[COUNT_FILES] = "files",
	[COUNT_FILES_TIMES] = "files-times",
	[COUNT_FILES_SCALE] = "files-scale",
};
DEFINE_STRING_TABLE(count, enum count, count_names)

unsigned bench_share(const struct bench *bench, enum count count)
{
	unsigned all = bench->options.counts[count];
	unsigned rounds = bench->options.rounds;

	return all / rounds + (bench->round < all % rounds);
}

int bench_make_folder(const char *below, char **ret_path, struct error *err)
{
	_cleanup_free_ char *path = path_join(below, "kiln-bench-XXXXXX");

	if (!mkdtemp(path))
		return error_set_errno(err, errno, "cannot make %s", path);
	*ret_path = steal_ptr(path);
	return 0;
}

char *bench_id(struct bench *bench)
{
	return xasprintf("bench-%d-%u", (int)getpid(), bench->serial++);
}
