/* Bytes as the lines of a trace. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/traces.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static FILE *sink;
	struct traces traces = {};

	if (!sink)
		sink = fopen("/dev/null", "we");
	traces_add(&traces, (const char *)data, size / 2);
	traces_add(&traces, (const char *)data + size / 2, size - size / 2);
	traces_finish(&traces);
	const struct start *start = traces_typical(&traces);
	if ((traces.count > 0) != (start != NULL))
		abort();
	if (start)
		start_print(start, sink);
	traces_done(&traces);
	return 0;
}
