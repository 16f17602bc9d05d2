/* Prometheus' text format, version 0.0.4, into a strbuf.
 *
 * A family is begun once and its samples follow it. Labels are given as pairs of name and value
 * that end with NULL; values are escaped here.
 */
#pragma once

#include "base/strbuf.h"
#include "factory/base/metrics.h"

#define METRICS_TEXT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* The metrics of a template, or with an empty name those of none. */
struct metrics_set {
	const char *template_name;
	const struct metrics *metrics;
};

void text_family(struct strbuf *b, const char *name, const char *type, const char *help);
void text_sample(struct strbuf *b, const char *name, const char *const *labels, uint64_t value);

void text_counters(struct strbuf *b, const struct metrics_set *sets, size_t nsets);
void text_histograms(struct strbuf *b, const struct metrics_set *sets, size_t nsets);
