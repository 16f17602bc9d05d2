#include "bench/plans.h"

#include <string.h>

struct plan {
	const char *name;
	unsigned rounds;
	unsigned counts[COUNT_MAX_];
};

static const struct plan plans[] = {
	{ "full", 5, { [COUNT_BOOTS] = 15,         [COUNT_CLONES] = 40,
		       [COUNT_CLAIMS] = 1000,      [COUNT_MANY_CLAIMS] = 60,
		       [COUNT_PARKED] = 100,       [COUNT_FIRST_EXECS] = 40,
		       [COUNT_COLD_EXECS] = 6,     [COUNT_CTRS] = 40,
		       [COUNT_BURST] = 16,         [COUNT_BURST_POOL] = 8,
		       [COUNT_BURSTS] = 4,         [COUNT_SUSTAIN_SECONDS] = 12,
		       [COUNT_DENSITY_MOST] = 100, [COUNT_DENSITY_UNSHARED] = 10,
		       [COUNT_ROOTS] = 6,          [COUNT_IMAGES] = 20,
		       [COUNT_PODS] = 40,          [COUNT_CRUNS] = 40,
		       [COUNT_METRICS] = 20,       [COUNT_FILES] = 3,
		       [COUNT_FILES_TIMES] = 4,    [COUNT_FILES_SCALE] = 25 } },
	{ "quick",
	  1,
	  { [COUNT_BOOTS] = 3,
	    [COUNT_CLONES] = 6,
	    [COUNT_CLAIMS] = 30,
	    [COUNT_FIRST_EXECS] = 8,
	    [COUNT_COLD_EXECS] = 2,
	    [COUNT_CTRS] = 6,
	    [COUNT_BURST] = 4,
	    [COUNT_BURST_POOL] = 2,
	    [COUNT_BURSTS] = 1,
	    [COUNT_DENSITY_MOST] = 10,
	    [COUNT_ROOTS] = 2,
	    [COUNT_PODS] = 3,
	    [COUNT_CRUNS] = 8,
	    [COUNT_METRICS] = 5,
	    [COUNT_FILES] = 1,
	    [COUNT_FILES_TIMES] = 3,
	    [COUNT_FILES_SCALE] = 10 } },
	/* What `make demo` shows at its end. */
	{ "demo",
	  1,
	  { [COUNT_BOOTS] = 2,
	    [COUNT_CLONES] = 4,
	    [COUNT_CLAIMS] = 10,
	    [COUNT_FIRST_EXECS] = 4,
	    [COUNT_COLD_EXECS] = 1,
	    [COUNT_CTRS] = 5,
	    [COUNT_DENSITY_MOST] = 1 } },
	/* What `make bench-node` measures: an emulated node is slow. */
	{ "node",
	  1,
	  { [COUNT_BOOTS] = 2,
	    [COUNT_CLONES] = 4,
	    [COUNT_CLAIMS] = 6,
	    [COUNT_DENSITY_MOST] = 10 } },
	/* One of everything: does it work? */
	{ "smoke", 1, { [COUNT_BOOTS] = 1,        [COUNT_CLONES] = 1,
			[COUNT_CLAIMS] = 2,       [COUNT_MANY_CLAIMS] = 1,
			[COUNT_PARKED] = 2,       [COUNT_FIRST_EXECS] = 1,
			[COUNT_COLD_EXECS] = 1,   [COUNT_CTRS] = 1,
			[COUNT_BURST] = 2,        [COUNT_BURST_POOL] = 1,
			[COUNT_BURSTS] = 1,       [COUNT_SUSTAIN_SECONDS] = 1,
			[COUNT_DENSITY_MOST] = 1, [COUNT_DENSITY_UNSHARED] = 1,
			[COUNT_ROOTS] = 1,        [COUNT_IMAGES] = 2,
			[COUNT_PODS] = 1,         [COUNT_CRUNS] = 2,
			[COUNT_METRICS] = 1,      [COUNT_FILES] = 1,
			[COUNT_FILES_TIMES] = 2,  [COUNT_FILES_SCALE] = 2 } },
};

int plan_apply(const char *name, struct bench_options *options)
{
	for (size_t i = 0; i < ARRAY_SIZE(plans); i++) {
		if (!str_equal(plans[i].name, name))
			continue;
		memcpy(options->counts, plans[i].counts, sizeof(options->counts));
		options->rounds = plans[i].rounds;
		return 0;
	}
	return -ENOENT;
}
