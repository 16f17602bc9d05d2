/* Whole `ctr run --rm` commands, by Kiln and by runc in turn on one containerd. */

#include "base/clock.h"
#include "base/memory.h"
#include "base/spawn.h"
#include "base/strv.h"
#include "bench/factory_client.h"
#include "bench/scenarios.h"

static int ctr_run(const struct bench_options *options, const char *runtime, unsigned run,
		   struct series *series, struct error *err)
{
	_cleanup_(strv_done) struct strv argv = {};
	_cleanup_free_ char *output = NULL;

	strv_add(&argv, "ctr");
	strv_addf(&argv, "--address=%s", options->containerd);
	strv_addf(&argv, "--namespace=%s", options->namespace_);
	strv_add(&argv, "run");
	strv_add(&argv, "--rm");
	strv_addf(&argv, "--runtime=%s", runtime);
	strv_add(&argv, options->image);
	strv_addf(&argv, "bench-%d-%u", getpid(), run);
	strv_add(&argv, "true");

	uint64_t begun = clock_monotonic_ns();
	int r = spawn_and_wait(argv.items, &output, err);
	if (r < 0)
		return error_wrap(err, "ctr run with %s", runtime);
	series_add(series, clock_monotonic_ns() - begun);
	return 0;
}

int bench_ctr(struct loop *loop, const struct bench_options *options, struct results *results,
	      struct error *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < options->runs; i++) {
		r = factory_init(loop, options->pool, err);
		if (r == 0)
			r = ctr_run(options, "io.containerd.kiln.v2", 2 * i,
				    &results->series[SERIES_CTR_KILN], err);
		/* The pool refills now; runc's turn is not to pay for it. */
		if (r == 0)
			r = factory_init(loop, options->pool, err);
		if (r == 0)
			r = ctr_run(options, "io.containerd.runc.v2", 2 * i + 1,
				    &results->series[SERIES_CTR_RUNC], err);
	}
	return r;
}
