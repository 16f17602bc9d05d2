/* Bytes as what a guest says of itself for Prometheus: each value that is taken is a number that
 * may be, of a word that may be, and no more are taken than there are words. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "ctl/guest_metrics.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const containers[] = { "c1", "c2" };
	_cleanup_free_ char *text = size > 0 ? xmemdup(data, size) : xstrdup("");
	_cleanup_(guest_metrics_free_cleanup) struct guest_metrics *metrics = guest_metrics_parse(
		text, size, containers, 2);
	size_t lines = 1;

	for (size_t i = 0; i < size; i++)
		lines += data[i] == '\n';
	if (guest_metrics_refused(metrics) > lines)
		abort();
	for (enum guest_family family = 0; family < GUEST_FAMILIES; family++)
		for (size_t i = 0; i < guest_metrics_count(metrics, family); i++) {
			const char *word;
			double value;
			if (guest_metrics_get(metrics, family, i, &word, &value) &&
			    (!isfinite(value) || value < 0 || value > 1e18 ||
			     !word != !guest_families[family].label))
				abort();
		}
	return 0;
}
