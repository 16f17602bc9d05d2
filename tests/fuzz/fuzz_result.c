/* Bytes as the JSON of a result: what is accepted can be written, judged and compared. */
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/compare.h"
#include "bench/result.h"
#include "bench/targets.h"

static FILE *sink;

static void use(const struct result *result)
{
	_cleanup_(result_free_cleanup) struct result *again = NULL;
	_cleanup_(error_done) struct error err = {};
	struct outcome outcomes[TARGETS];
	unsigned worse;

	targets_evaluate(result, outcomes);
	json_t *json = result_to_json(result, targets_to_json(outcomes));
	if (result_from_json(json, &again, &err) < 0)
		abort();
	json_decref(json);
	if (compare_results(result, again, sink).worse > 0)
		abort();
	json_t *baseline = baseline_make(outcomes, result->about);
	(void)!baseline_check(outcomes, baseline, sink, &worse, &err);
	json_decref(baseline);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(result_free_cleanup) struct result *result = NULL;
	_cleanup_(error_done) struct error err = {};

	if (!sink)
		sink = fopen("/dev/null", "we");
	/* The bootstrap takes a while for every sample. */
	json_t *json = size < 4096 ? json_loadb((const char *)data, size, 0, NULL) : NULL;
	int r = json ? result_from_json(json, &result, &err) : -EBADMSG;
	if (r == 0)
		use(result);
	else if (json && (result || !err.message))
		abort();
	json_decref(json);
	return 0;
}
