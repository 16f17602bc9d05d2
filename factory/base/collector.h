/* Where spans are sent to: the factory's key trace_collector. */
#pragma once

#include <stdint.h>

#include "base/error.h"

struct collector {
	char *address; /* IPv4, in numbers: a name would have to be asked for, which blocks. Owned
			*/
	char *path;    /* owned */
	uint16_t port;
};

/* http://ADDRESS[:PORT][/PATH]; without port and path OTLP's, 4318 and /v1/traces. "localhost" is
 * 127.0.0.1. -EINVAL. */
_must_check_ int collector_parse(const char *url, struct collector *ret_collector,
				 struct error *err);
void collector_done(struct collector *collector);
