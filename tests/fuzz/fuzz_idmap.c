/* Bytes as /proc/PID/uid_map: who is root in there is what its first line says, or nobody. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "shim/idmap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = xstrndup((const char *)data, size);
	uint32_t first = 0;
	char *rest;

	if (idmap_parse(text, &first) < 0)
		return 0;
	text[strcspn(text, "\n")] = '\0';
	if (strtoull(text, &rest, 10) != 0 || strtoull(rest, &rest, 10) != first ||
	    strtoull(rest, &rest, 10) == 0)
		abort();
	return 0;
}
