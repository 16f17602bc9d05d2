/* What a guest's agent says of itself for Prometheus (agent/metrics.h), read as the hostile text
 * that it is.
 *
 * Of each family its name, type, help, and what its one label may say are written here, and not
 * taken from the guest: so a guest can neither name a family as another one's, nor have more series
 * than there are words below and containers that its shim knows. A line is
 *
 *   NAME{LABEL="WORD"} NUMBER     or     NAME NUMBER
 *
 * with a decimal number from 0 to 1e18. Comments, and words of a family that are not listed, are
 * left out; other lines are counted as refused, as is a second one of the same series.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"

enum guest_family {
	GUEST_LOAD,
	GUEST_CPU,
	GUEST_MEMORY,
	GUEST_AGENT_FILES,
	GUEST_AGENT_MEMORY,
	GUEST_CONTAINER_CPU,
	GUEST_CONTAINER_MEMORY,
	GUEST_CONTAINER_PROCESSES,
	GUEST_FAMILIES,
};

struct guest_family_info {
	const char *name, *type, *help;
	const char *label; /* NULL: it has none, and one sample */
	const char *const
		*words; /* that the label may be, NULL at the end; NULL: containers' ids */
};
extern const struct guest_family_info guest_families[GUEST_FAMILIES];

struct guest_metrics;

/* containers: ids, count of them, borrowed as long as the result lives. */
struct guest_metrics *guest_metrics_parse(const char *text, size_t len,
					  const char *const *containers, size_t count);
void guest_metrics_free(struct guest_metrics *metrics);
DEFINE_CLEANUP(struct guest_metrics *, guest_metrics_free)

/* How many series a family may have. */
size_t guest_metrics_count(const struct guest_metrics *metrics, enum guest_family family);
/* The i-th; false: the guest did not tell. *ret_word is the label's, NULL where there is none. */
bool guest_metrics_get(const struct guest_metrics *metrics, enum guest_family family, size_t i,
		       const char **ret_word, double *ret_value);

size_t guest_metrics_refused(const struct guest_metrics *metrics); /* lines */
