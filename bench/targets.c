#include "bench/targets.h"

#include <math.h>

#include "base/memory.h"

static const char *const verdict_names[] = {
	[VERDICT_UNMEASURED] = "not measured",
	[VERDICT_MISS] = "miss",
	[VERDICT_PASS] = "pass",
	[VERDICT_AIM] = "aim",
};
DEFINE_STRING_TABLE(verdict, enum verdict, verdict_names)

/* Where a target's figure comes from: two series (b NULL: a value), or values. */
struct source {
	struct target target;
	const char *a;
	double qa;
	const char *b;
	double qb;
	double tolerance; /* of the baseline: what a noisy machine may add */
};

/* A kind of work on files (bench/scenario_files.c) where it is done again. */
#define FILES_TARGET(work)                                                                         \
	{                                                                                          \
		{ "files_" work, "files: " work ", overlay : the limit, p50", UNIT_TIMES, 1.2,     \
		  1.05 },                                                                          \
			"files." work ".overlay", 0.5, "files." work ".limit", 0.5, 1.5            \
	}

/* A call of a pod's life (bench/scenario_pods.c). */
#define PODS_TARGET(step, call, must, aim)                                                         \
	{                                                                                          \
		{ "pods_" step, "pods: " call ", kiln : runc, p50", UNIT_TIMES, must, aim },       \
			"pods." step ".kiln", 0.5, "pods." step ".runc", 0.5, 1.25                 \
	}

static const struct source sources[TARGETS] = {
	{ { "claim_vs_boot", "claim + CreateSandbox p50 : cold boot to agent ready", UNIT_SHARE,
	    1.0 / 500, 1.0 / 2000 },
	  "claim.total",
	  0.5,
	  "boot.ready",
	  0.5,
	  1.5 },
	{ { "claim_tail", "claim + CreateSandbox p99 : its own p50", UNIT_TIMES, 4, 2 },
	  "claim.total",
	  0.99,
	  "claim.total",
	  0.5,
	  2 },
	{ { "first_output", "first output, pooled : after a cold boot", UNIT_SHARE, 1.0 / 10,
	    1.0 / 30 },
	  "first-exec.pooled",
	  0.5,
	  "first-exec.booted",
	  0.5,
	  1.5 },
	{ { "ctr_vs_runc", "ctr run --rm busybox true, kiln : runc, p50", UNIT_TIMES, 1.5, 1 },
	  "ctr.kiln",
	  0.5,
	  "ctr.runc",
	  0.5,
	  1.25 },
	{ { "clone_vs_boot", "clone (of a spare) to parked : cold boot", UNIT_SHARE, 1.0 / 10,
	    1.0 / 25 },
	  "clone.parked",
	  0.5,
	  "boot.ready",
	  0.5,
	  1.5 },
	{ { "claim_many_parked", "claim p50, 100 parked : 1 parked", UNIT_TIMES, 1.2, 1 },
	  "claim.of_many",
	  0.5,
	  "claim.of_one",
	  0.5,
	  1.3 },
	{ { "memory_vs_booted", "memory of a parked clone at N = 50 : a booted machine", UNIT_SHARE,
	    1.0 / 4, 1.0 / 10 },
	  "density.parked_50_mib",
	  0,
	  "density.booted_mib",
	  0,
	  1.15 },
	{ { "shim_memory", "shim, private memory", UNIT_MIB, 3, 1 },
	  "memory.shim_private_mib",
	  0,
	  NULL,
	  0,
	  1.15 },
	{ { "factory_memory", "factory at 100 clones, private memory", UNIT_MIB, 16, 8 },
	  "memory.factory_at_100_mib",
	  0,
	  NULL,
	  0,
	  1.15 },
	PODS_TARGET("run", "RunPodSandbox", 1.1, 0.8),
	PODS_TARGET("start", "StartContainer", 1.5, 1),
	PODS_TARGET("exec-first", "first ExecSync", 2, 1),
	PODS_TARGET("life", "whole life", 1.3, 1),
	{ { "crun", "CreateContainer + StartContainer : crun in the guest, p50", UNIT_TIMES, 1,
	    0.5 },
	  "crun.kiln",
	  0.5,
	  "crun.crun",
	  0.5,
	  1.25 },
	{ { "root_run", "ctr run --rm, an image in a DAX window : the plain share, p50", UNIT_TIMES,
	    1, 0.7 },
	  "roots.run.overlay-dax",
	  0.5,
	  "roots.run.share",
	  0.5,
	  1.25 },
	{ { "root_output", "first output, an image in a DAX window : the plain share, p50",
	    UNIT_TIMES, 1, 0.7 },
	  "roots.output.overlay-dax",
	  0.5,
	  "roots.output.share",
	  0.5,
	  1.25 },
	FILES_TARGET("write"),
	FILES_TARGET("read"),
	FILES_TARGET("small"),
	FILES_TARGET("make"),
	FILES_TARGET("find"),
	FILES_TARGET("remove"),
	FILES_TARGET("untar"),
	FILES_TARGET("tar"),
	FILES_TARGET("rm"),
	FILES_TARGET("git-clone"),
	FILES_TARGET("git-gc"),
	FILES_TARGET("mmap"),
	FILES_TARGET("walk"),
	FILES_TARGET("sqlite"),
};

/* ---------------------------------------------------------------- evaluation */

static bool of_series(const struct result *result, const struct source *source,
		      struct outcome *outcome)
{
	const struct series *a = result_find(result, source->a);
	const struct series *b = source->b ? result_find(result, source->b) : NULL;

	if (!a || !b)
		return false;
	outcome->measured = stats_ratio(&(struct sample){ a->ms, a->count, source->qa },
					&(struct sample){ b->ms, b->count, source->qb });
	outcome->count = a->count < b->count ? a->count : b->count;
	return true;
}

static bool of_values(const struct result *result, const struct source *source,
		      struct outcome *outcome)
{
	double value = result_get(result, source->a);

	if (source->b)
		value /= result_get(result, source->b);
	if (!isfinite(value))
		return false;
	outcome->measured = (struct interval){ value, value, value };
	return true;
}

void targets_evaluate(const struct result *result, struct outcome ret_outcomes[static TARGETS])
{
	for (size_t i = 0; i < TARGETS; i++) {
		const struct source *source = &sources[i];
		struct outcome *outcome = &ret_outcomes[i];

		*outcome = (struct outcome){ .target = &source->target };
		if (!of_series(result, source, outcome) && !of_values(result, source, outcome))
			continue;
		double value = outcome->measured.value;
		outcome->verdict = value <= source->target.aim    ? VERDICT_AIM
				   : value <= source->target.must ? VERDICT_PASS
								  : VERDICT_MISS;
	}
}

/* ---------------------------------------------------------------- for people */

static char *format_value(enum target_unit unit, double value)
{
	switch (unit) {
	case UNIT_SHARE:
		return value > 0 ? xasprintf("1/%.*f", value > 0.1 ? 1 : 0, 1 / value)
				 : xstrdup("0");
	case UNIT_TIMES:
		return xasprintf("%.2fx", value);
	case UNIT_MIB:
		return xasprintf("%.1f MiB", value);
	}
	return xstrdup("?");
}

static void print_target(const struct outcome *outcome, FILE *out)
{
	const struct target *target = outcome->target;
	_cleanup_free_ char *must = format_value(target->unit, target->must);
	_cleanup_free_ char *aim = format_value(target->unit, target->aim);
	_cleanup_free_ char *value = format_value(target->unit, outcome->measured.value);
	_cleanup_free_ char *low = format_value(target->unit, outcome->measured.low);
	_cleanup_free_ char *high = format_value(target->unit, outcome->measured.high);
	_cleanup_free_ char *range = outcome->count > 0 ? xasprintf("%s to %s", low, high)
							: xstrdup("");
	bool measured = outcome->verdict != VERDICT_UNMEASURED;

	fprintf(out, "%-58s %9s  %-20s %9s %9s  %s", target->what, measured ? value : "-",
		measured ? range : "", must, aim, verdict_to_string(outcome->verdict));
	if (outcome->count > 0)
		fprintf(out, " (n = %zu)", outcome->count);
	fputc('\n', out);
}

void targets_print(const struct outcome outcomes[static TARGETS], FILE *out)
{
	fprintf(out, "%-58s %9s  %-20s %9s %9s  %s\n", "target (less is better)", "measured",
		"95 % interval", "must", "aim", "verdict");
	for (size_t i = 0; i < TARGETS; i++)
		print_target(&outcomes[i], out);
}

/* ---------------------------------------------------------------- for machines */

json_t *targets_to_json(const struct outcome outcomes[static TARGETS])
{
	json_t *object = json_object();

	for (size_t i = 0; i < TARGETS; i++) {
		const struct outcome *outcome = &outcomes[i];
		json_t *entry = json_pack("{s:s, s:f, s:f, s:s}", "what", outcome->target->what,
					  "must", outcome->target->must, "aim",
					  outcome->target->aim, "verdict",
					  verdict_to_string(outcome->verdict));
		if (outcome->verdict != VERDICT_UNMEASURED) {
			row_set(entry, "measured", outcome->measured.value);
			row_set(entry, "low", outcome->measured.low);
			row_set(entry, "high", outcome->measured.high);
		}
		json_object_set_new(object, outcome->target->name, entry);
	}
	return object;
}

/* ---------------------------------------------------------------- baseline */

json_t *baseline_make(const struct outcome outcomes[static TARGETS], const json_t *about)
{
	json_t *targets = json_object();

	for (size_t i = 0; i < TARGETS; i++) {
		if (outcomes[i].verdict == VERDICT_UNMEASURED)
			continue;
		json_t *entry = json_object();
		row_set(entry, "value", outcomes[i].measured.value);
		row_set(entry, "tolerance", sources[i].tolerance);
		json_object_set_new(targets, outcomes[i].target->name, entry);
	}
	return json_pack("{s:i, s:O?, s:O?, s:o}", "schema", RESULT_SCHEMA, "begun",
			 json_object_get(about, "begun"), "machine",
			 json_object_get(about, "machine"), "targets", targets);
}

static bool is_worse(const struct outcome *outcome, double value, double tolerance, FILE *out)
{
	_cleanup_free_ char *now = format_value(outcome->target->unit, outcome->measured.value);
	_cleanup_free_ char *then = format_value(outcome->target->unit, value);
	bool worse = outcome->measured.low > value * tolerance;

	fprintf(out, "%-58s %9s  baseline %9s  %s\n", outcome->target->what, now, then,
		worse ? "WORSE" : "ok");
	return worse;
}

int baseline_check(const struct outcome outcomes[static TARGETS], const json_t *baseline, FILE *out,
		   unsigned *ret_worse, struct error *err)
{
	const json_t *targets = json_object_get(baseline, "targets");
	unsigned worse = 0;

	if (json_integer_value(json_object_get(baseline, "schema")) != RESULT_SCHEMA ||
	    !json_is_object(targets))
		return error_set(err, EBADMSG, "no baseline with \"schema\": %d", RESULT_SCHEMA);
	for (size_t i = 0; i < TARGETS; i++) {
		const json_t *entry = json_object_get(targets, outcomes[i].target->name);
		double value = row_get(entry, "value");
		double tolerance = row_get(entry, "tolerance");

		if (!entry || outcomes[i].verdict == VERDICT_UNMEASURED)
			continue;
		if (!(value > 0) || !(tolerance >= 1))
			return error_set(err, EBADMSG,
					 "the baseline's %s wants a value and a "
					 "tolerance of at least 1",
					 outcomes[i].target->name);
		worse += is_worse(&outcomes[i], value, tolerance, out);
	}
	*ret_worse = worse;
	return 0;
}
