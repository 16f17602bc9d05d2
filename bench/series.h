/* A named series of measured times. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum series_id {
	SERIES_BOOT,
	SERIES_CLONE,
	SERIES_CLAIM,
	SERIES_CREATE_SANDBOX,
	SERIES_CLAIM_CREATE,
	SERIES_CONTAINER_START,
	SERIES_CTR_KILN,
	SERIES_CTR_RUNC,
	SERIES_COUNT,
};

struct series {
	const char *name; /* in JSON */
	const char *what; /* for people: from which event to which */
	double *ms;       /* owned, in the order measured until series_sort() */
	size_t count;
};

struct results {
	struct series series[SERIES_COUNT];
};

void results_init(struct results *results);
void results_done(struct results *results);

void series_add(struct series *series, uint64_t ns);

/* Nearest-rank quantile, q in (0, 1]; 0 for an empty series. */
double series_quantile(const struct series *series, double q);

/* Table with the ratio of each median to the cold boot's. */
void results_print(const struct results *results, FILE *out);
json_t *results_to_json(const struct results *results);
