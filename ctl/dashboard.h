/* `kiln-ctl factory dashboard`: the factory's state as pages for people, on 127.0.0.1.
 *
 *   /           the page, which asks for itself again; /still: which does not
 *   /style.css, /icon.svg
 *   /healthz    200 while this process lives
 *
 * For a page the factory is asked by its socket (Status and Latencies), within DASHBOARD_TIMEOUT_MS
 * and never twice within DASHBOARD_FRESH_MS; whoever asks meanwhile waits for the same answer. A
 * factory that is away is a page that says so, with status 503. Nothing can be changed by any of
 * them. Ends by SIGTERM and SIGINT.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

enum { DASHBOARD_PORT = 9483, DASHBOARD_FRESH_MS = 1000, DASHBOARD_TIMEOUT_MS = 5000 };

struct dashboard_options {
	const char *socket; /* the factory's */
	const char *traces; /* folder of traces in files (base/trace.h); NULL: none */
	uint16_t port;
};

_must_check_ int dashboard_serve(const struct dashboard_options *options, struct error *err);
