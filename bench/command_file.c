/* The commands that read files: compare, report, check, baseline, plot, trace. */

#include <stdio.h>

#include "base/config.h"
#include "base/memory.h"
#include "base/strings.h"
#include "base/traces.h"
#include "bench/command.h"
#include "bench/compare.h"
#include "bench/plot.h"
#include "bench/report.h"
#include "bench/targets.h"

int command_compare(int argc _unused_, char **argv)
{
	_cleanup_(result_free_cleanup) struct result *old = NULL;
	_cleanup_(result_free_cleanup) struct result *now = NULL;
	_cleanup_(error_done) struct error err = {};

	int r = result_load(argv[1], &old, &err);
	if (r == 0)
		r = result_load(argv[2], &now, &err);
	if (r < 0)
		return command_fail(STATUS_USAGE, &err);
	return compare_results(old, now, stdout).worse > 0 ? STATUS_WORSE : 0;
}

int command_report(int argc _unused_, char **argv)
{
	_cleanup_(result_free_cleanup) struct result *result = NULL;
	_cleanup_(error_done) struct error err = {};
	struct outcome outcomes[TARGETS];

	if (result_load(argv[1], &result, &err) < 0)
		return command_fail(STATUS_USAGE, &err);
	report_print(result, stdout);
	targets_evaluate(result, outcomes);
	targets_print(outcomes, stdout);
	return 0;
}

int command_check(int argc _unused_, char **argv)
{
	_cleanup_(result_free_cleanup) struct result *result = NULL;
	_cleanup_(error_done) struct error err = {};
	struct outcome outcomes[TARGETS];
	json_t *baseline = NULL;
	unsigned worse = 0;

	int r = result_load(argv[1], &result, &err);
	if (r == 0)
		r = config_load_file(argv[2], &baseline, &err);
	if (r == 0) {
		targets_evaluate(result, outcomes);
		targets_print(outcomes, stdout);
		putchar('\n');
		r = baseline_check(outcomes, baseline, stdout, &worse, &err);
	}
	json_decref(baseline);
	if (r < 0)
		return command_fail(STATUS_USAGE, &err);
	printf("%u worse than the baseline\n", worse);
	return worse > 0 ? STATUS_WORSE : 0;
}

int command_baseline(int argc _unused_, char **argv)
{
	_cleanup_(result_free_cleanup) struct result *result = NULL;
	_cleanup_(error_done) struct error err = {};
	struct outcome outcomes[TARGETS];

	if (result_load(argv[1], &result, &err) < 0)
		return command_fail(STATUS_USAGE, &err);
	targets_evaluate(result, outcomes);
	json_t *baseline = baseline_make(outcomes, result->about);
	json_dumpf(baseline, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(4));
	putchar('\n');
	json_decref(baseline);
	return 0;
}

int command_plot(int argc _unused_, char **argv)
{
	_cleanup_(result_free_cleanup) struct result *result = NULL;
	_cleanup_(error_done) struct error err = {};
	unsigned count = 0;

	if (result_load(argv[1], &result, &err) < 0)
		return command_fail(STATUS_USAGE, &err);
	if (plot_result(result, argv[2], &count, &err) < 0)
		return command_fail(STATUS_WORSE, &err);
	printf("%u plots in %s\n", count, argv[2]);
	return 0;
}

int command_trace(int argc, char **argv)
{
	_cleanup_(traces_done) struct traces traces = {};
	_cleanup_(error_done) struct error err = {};
	const char *id = argc > 2 && !str_equal(argv[2], "-") ? argv[2] : NULL;

	if (traces_read(argv[1], &traces, &err) < 0)
		return command_fail(STATUS_USAGE, &err);
	const struct start *start = id ? traces_find(&traces, id) : traces_typical(&traces);
	if (!start) {
		fprintf(stderr, PROGRAM ": no trace of %s in %s\n", id ? id : "a start", argv[1]);
		return STATUS_WORSE;
	}
	printf("%zu starts, %zu lines skipped\n", traces.count, traces.skipped);
	start_print(start, stdout);
	if (argc > 3 && plot_start(start, argv[3], &err) < 0)
		return command_fail(STATUS_WORSE, &err);
	return 0;
}
