/* boot.ready: QEMU is started -> the agent's first answer (bench/booted.h). */

#include "bench/booted.h"
#include "bench/scenarios.h"

int scenario_boot(struct bench *bench, struct error *err)
{
	struct series *series = result_series(bench->result, "boot.ready",
					      "cold boot to agent ready");
	unsigned boots = bench_share(bench, COUNT_BOOTS);
	/* The first one reads kernel and image from the disk. */
	unsigned warmups = bench->round == 0 ? 1 : 0;

	for (unsigned i = 0; i < warmups + boots; i++) {
		_cleanup_(booted_free_cleanup) struct booted *booted = NULL;
		uint64_t ns;

		progress_step(&bench->progress, i, warmups + boots);
		int r = booted_new(bench, bench->options.factory, &booted, &ns, err);
		if (r < 0)
			return r;
		if (i >= warmups)
			series_add(series, ns);
	}
	return 0;
}
