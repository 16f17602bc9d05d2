/* first-exec.pooled: a claim is sent -> the first bytes a container wrote are read: claim,
 * CreateSandbox, CreateContainer, StartContainer, ReadStdout.
 * first-exec.booted: QEMU is started -> the same, by the same calls in the same guest. */

#include "base/clock.h"
#include "bench/booted.h"
#include "bench/factory_client.h"
#include "bench/sandbox.h"
#include "bench/scenarios.h"

#define WARMUPS 1

static int first_output(struct bench *bench, struct ttrpc_client *agent, struct error *err)
{
	int r = sandbox_create(bench, agent, err);

	if (r == 0)
		r = sandbox_start_container(bench, agent, err);
	return r < 0 ? r : sandbox_read_output(bench, agent, err);
}

static int pooled_once(struct bench *bench, struct series *series, bool counted, struct error *err)
{
	const char *factory = bench->options.factory;
	_cleanup_(error_done) struct error ignored = {};
	struct claim *claim = NULL;

	int r = factory_warm(bench->loop, factory, 1, err);
	if (r < 0)
		return r;
	uint64_t begun = clock_monotonic_ns();
	r = sandbox_claim(bench, factory, &claim, err);
	if (r < 0)
		return r;
	r = first_output(bench, claim->agent, err);
	if (r == 0 && counted)
		series_add(series, clock_monotonic_ns() - begun);
	claim_confirm(claim);
	int released = sandbox_release(bench, factory, claim, r < 0 ? &ignored : err);
	return r < 0 ? r : released;
}

static int booted_once(struct bench *bench, struct series *series, struct error *err)
{
	_cleanup_(booted_free_cleanup) struct booted *booted = NULL;
	uint64_t boot_ns;

	int r = booted_new(bench, bench->options.factory, &booted, &boot_ns, err);
	if (r < 0)
		return r;
	uint64_t ready = clock_monotonic_ns();
	r = first_output(bench, booted_agent(booted), err);
	if (r == 0)
		series_add(series, boot_ns + clock_monotonic_ns() - ready);
	return r;
}

int scenario_first_exec(struct bench *bench, struct error *err)
{
	struct series *pooled = result_series(bench->result, "first-exec.pooled",
					      "claim from the pool to first output");
	struct series *booted = result_series(bench->result, "first-exec.booted",
					      "cold boot to first output");
	unsigned execs = bench_share(bench, COUNT_FIRST_EXECS);
	unsigned colds = bench_share(bench, COUNT_COLD_EXECS);
	int r = 0;

	for (unsigned i = 0; r == 0 && i < WARMUPS; i++)
		r = pooled_once(bench, pooled, false, err);
	for (unsigned i = 0; r == 0 && (i < execs || i < colds); i++) {
		progress_step(&bench->progress, i, execs > colds ? execs : colds);
		if (i < execs)
			r = pooled_once(bench, pooled, true, err);
		if (r == 0 && i < colds)
			r = booted_once(bench, booted, err);
	}
	return r;
}
