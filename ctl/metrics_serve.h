/* `kiln-ctl metrics serve`: the page for Prometheus over HTTP, from one process.
 *
 * Each GET of /metrics has the sandboxes asked anew (ctl/sandboxes.h); whoever asks meanwhile waits
 * for the same answers, so that many readers cost the sandboxes no more than one. Nothing is kept
 * between two of them. Ends by SIGTERM and SIGINT.
 */
#pragma once

#include "ctl/sandboxes.h"

struct metrics_serve_options {
	const char *address; /* "ADDRESS:PORT" of IPv4, or a Unix socket's path (mode 0600) */
	const char *dir;     /* NULL: SHIM_DIR */
	unsigned timeout_ms; /* of a sandbox; 0: SANDBOXES_TIMEOUT_MS */
};

_must_check_ int metrics_serve(const struct metrics_serve_options *options, struct error *err);
