/* All checks, and what came of them; for check and bug-report. */
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "ctl/check.h"

#define CHECKS_MAX 64

struct check_report {
	struct check_result results[CHECKS_MAX]; /* by check_probes; found is NULL: not run */
	unsigned counts[CHECK_VERDICTS];
	enum check_verdict worst;
};

/* Those of these names; count 0: all. */
void check_run(const struct check_host *host, char *const *names, size_t count,
	       struct check_report *ret_report);
void check_report_done(struct check_report *report);

void check_report_print(const struct check_report *report, FILE *out);
/* The caller drops it. */
json_t *check_report_json(const struct check_report *report);
