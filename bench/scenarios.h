/* The scenarios: each measures real parts, adds to the series and tables of its name, and gets
 * its share of the counts in each round.
 *
 * A new one is a file of its own with one function, a row in the table
 * of scenarios.c, its counts in enum count and plans.c, and its definition in bench/README.md.
 */
#pragma once

#include "bench/bench.h"

struct scenario {
	const char *name;
	const char *summary;
	int (*run)(struct bench *bench, struct error *err);
	bool once; /* in the first round only */
	bool needs_pool;
	bool needs_containerd;
	bool needs_cri;
	bool needs_files_image;
	bool needs_crun;
};

/* NULL past the last one. */
const struct scenario *scenario_at(size_t index);
const struct scenario *scenario_find(const char *name);

/* Why it cannot be run with these options; NULL: it can. */
const char *scenario_obstacle(const struct scenario *scenario, const struct bench_options *options);

_must_check_ int scenario_boot(struct bench *bench, struct error *err);
_must_check_ int scenario_clone(struct bench *bench, struct error *err);
_must_check_ int scenario_claim(struct bench *bench, struct error *err);
_must_check_ int scenario_many(struct bench *bench, struct error *err);
_must_check_ int scenario_first_exec(struct bench *bench, struct error *err);
_must_check_ int scenario_ctr(struct bench *bench, struct error *err);
_must_check_ int scenario_pods(struct bench *bench, struct error *err);
_must_check_ int scenario_pods_net(struct bench *bench, struct error *err);
_must_check_ int scenario_crun(struct bench *bench, struct error *err);
_must_check_ int scenario_roots(struct bench *bench, struct error *err);
_must_check_ int scenario_images(struct bench *bench, struct error *err);
_must_check_ int scenario_files(struct bench *bench, struct error *err);
_must_check_ int scenario_metrics(struct bench *bench, struct error *err);
_must_check_ int scenario_burst(struct bench *bench, struct error *err);
_must_check_ int scenario_sustain(struct bench *bench, struct error *err);
_must_check_ int scenario_density(struct bench *bench, struct error *err);
_must_check_ int scenario_freed(struct bench *bench, struct error *err);
