/* A whole shim for a fuzzer (tests/unit/shim/shim_bench.h). */
#pragma once

#include "tests/unit/shim/shim_bench.h"

static inline void on_turn(void *userdata)
{
	*(bool *)userdata = true;
}

/* What is ready now. */
static inline void run_once(struct bench *bench)
{
	bool done = false;

	loop_defer(bench->loop, on_turn, &done);
	(void)loop_run_until(bench->loop, &done, DEADLINE_MS);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc _unused_, char ***argv _unused_)
{
	log_set_level(LOG_LEVEL_ERROR);
	if (!bench_private_mounts())
		exit(1);
	return 0;
}
