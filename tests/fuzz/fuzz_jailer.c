/* What a factory that somebody has taken over says to kiln-jailer. A request that is taken has the
 * names it must have, and is printed as it came. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "factory/jail/jailer_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct jailer_request request;
	char *printed = NULL;
	size_t len = 0;

	if (size == 0 ||
	    jailer_request_parse((const char *)data + 1, size - 1, data[0], &request, NULL) < 0)
		return 0;
	if (request.verb >= JAILER_VERBS || strchr(request.machine, '/') ||
	    strchr(request.template_id, '/') || strlen(request.machine) % (ID_HEX_SIZE - 1) != 0 ||
	    strlen(request.template_id) % (DIGEST_HEX_SIZE - 1) != 0)
		abort();
	if (jailer_request_print(&request, &printed, &len, NULL) < 0 || len != size - 1)
		abort();
	free(printed);
	jailer_request_done(&request);
	return 0;
}
