/* The named sets of counts: what `make bench` and `make bench-quick` measure. */
#pragma once

#include "bench/bench.h"

/* Sets counts and rounds; -ENOENT: no set has this name. */
_must_check_ int plan_apply(const char *name, struct bench_options *options);
