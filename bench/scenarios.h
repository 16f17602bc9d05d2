/* The scenarios: each measures real parts and adds to its series.
 *
 * A new scenario (pods, storage, network) is a function here and a row in main.c's table. */
#pragma once

#include "base/error.h"
#include "base/loop.h"
#include "bench/series.h"

struct bench_options {
	const char *pool;       /* address of a factory whose pool has at least one machine */
	const char *empty;      /* address of a factory with pool_size 0; its template is rebaked */
	const char *containerd; /* socket; NULL: no ctr scenario */
	const char *image;
	const char *namespace_;
	unsigned runs;
	unsigned boots;
};

/* BOOT: destroys and bakes the template of options->empty; the factory's own measure from VMM
 * start to the agent's first answer. */
_must_check_ int bench_boot(struct loop *loop, const struct bench_options *options,
			    struct results *results, struct error *err);

/* CLONE: claims from options->empty. */
_must_check_ int bench_clone(struct loop *loop, const struct bench_options *options,
			     struct results *results, struct error *err);

/* CLAIM, CREATE_SANDBOX, CONTAINER_START: claims from options->pool, full before each. */
_must_check_ int bench_claim(struct loop *loop, const struct bench_options *options,
			     struct results *results, struct error *err);

/* CTR_KILN and CTR_RUNC, one of each in turn. */
_must_check_ int bench_ctr(struct loop *loop, const struct bench_options *options,
			   struct results *results, struct error *err);
