/* The plots: each a gnuplot script with its data in it (so that a person can change and run it
 * again), and what gnuplot makes of it, as SVG and PNG.
 *
 *   latency      distribution of every series
 *   memory       MiB a machine, by part, against N; parked, running and booted
 *   hit-ratio    latency under sustained load against the share the pool served
 *   waterfall    where the time of one start goes, from traces
 */
#pragma once

#include "base/traces.h"
#include "bench/result.h"

/* A plot for which the result has no figures is left out. *ret_count: how many were made. */
_must_check_ int plot_result(const struct result *result, const char *out_dir, unsigned *ret_count,
			     struct error *err);
_must_check_ int plot_start(const struct start *start, const char *out_dir, struct error *err);
