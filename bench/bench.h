/* What every scenario gets: the options, the loop, the place for its figures.
 *
 * The scenarios measure real parts. Four factories are theirs:
 *
 *   factory   keeps no machine by itself (pool_size 0): what is parked is what a scenario asked
 *             for with Warm, and nothing is made while it measures
 *   pool      refills itself, as a node's does; for `sustain` and as the one with many parked
 *   slots     as `factory`, with a template that has no DAX windows; for `roots`
 *   unshared  as `factory`, with a template that says "share": "never"; for `density`
 */
#pragma once

#include "base/loop.h"
#include "base/strings.h"
#include "bench/progress.h"
#include "bench/result.h"

/* How many counted runs a scenario does in all rounds together. */
enum count {
	COUNT_BOOTS,
	COUNT_CLONES,
	COUNT_CLAIMS,      /* from a full pool */
	COUNT_MANY_CLAIMS, /* pairs: with one parked, with many parked; 0: left out */
	COUNT_PARKED,      /* how many are the many */
	COUNT_FIRST_EXECS,
	COUNT_COLD_EXECS, /* after a cold boot */
	COUNT_CTRS,       /* rounds of kiln, runc, no runtime */
	COUNT_BURST,      /* claims at once */
	COUNT_BURST_POOL, /* machines parked for them */
	COUNT_BURSTS,
	COUNT_SUSTAIN_SECONDS,  /* at each rate */
	COUNT_DENSITY_MOST,     /* machines, the largest of 1, 10, 50, 100 up to it */
	COUNT_DENSITY_UNSHARED, /* the same, of a template that is not shared; 0: left out */
	COUNT_ROOTS,            /* rounds of all ways to a root file system and runc */
	COUNT_IMAGES,           /* sandboxes that read one image; 0: left out */
	COUNT_PODS,             /* lives of a pod, of kiln and runc each; 0: left out */
	COUNT_CRUNS,       /* containers of a guest, by the agent and by crun each; 0: left out */
	COUNT_METRICS,     /* times that all sandboxes of a node are asked, each way; 0: left out */
	COUNT_FILES,       /* places for work on files, of each contestant; 0: left out */
	COUNT_FILES_TIMES, /* how often it is done in each of them */
	COUNT_FILES_SCALE, /* how much work that is, in percent */
	COUNT_MAX_
};
DECLARE_STRING_TABLE(count, enum count); /* "boots", "clones", ... */

struct bench_options {
	const char *factory;    /* address */
	const char *pool;       /* address; NULL: what needs it is left out */
	const char *unshared;   /* address; NULL: ditto */
	const char *slots;      /* address; NULL: ditto */
	const char *containerd; /* socket; NULL: ditto */
	const char *cri;        /* socket of a containerd with CRI; NULL: ditto */
	const char *image;
	const char *pods_image;  /* has bench/work/net.c's program */
	const char *files_image; /* bench/files-image; NULL: ditto */
	const char *limit;       /* folder of what bench/files-image makes for it; NULL: ditto */
	const char *crun;        /* what bench/crun-folder makes; NULL: ditto */
	const char *rootfs;      /* drivers of roots, with commas between them; NULL: overlay */
	const char *namespace_;
	unsigned counts[COUNT_MAX_];
	unsigned rounds; /* scenarios take turns: A B C A B C */
};

struct booted;

struct bench {
	struct loop *loop;
	struct booted *booted; /* all there are (bench/booted.h) */
	struct bench_options options;
	struct result *result; /* borrowed */
	struct progress progress;
	unsigned round;  /* from 0 */
	unsigned serial; /* makes ids of sandboxes */
};

/* This round's share of a count. Each is at least 1 in the first round where the count is not 0. */
unsigned bench_share(const struct bench *bench, enum count count);

/* A new folder below another one; the caller removes it, and frees its path. */
_must_check_ int bench_make_folder(const char *below, char **ret_path, struct error *err);

/* A new id for a sandbox; the caller frees. */
char *bench_id(struct bench *bench);
