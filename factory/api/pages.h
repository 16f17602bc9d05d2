/* What the factory serves over HTTP, on the Unix socket `http_socket` (mode 0600) and, where
 * `http_port` is set, on 127.0.0.1 (to anybody on the host: it is read-only and names templates
 * and versions, no sandboxes).
 *
 *   /metrics   Prometheus' text format
 *   /healthz   200: the loop lives
 *   /readyz    200 where every template is ready and has a machine parked (or none to keep),
 *              else 503 with a line for each one that is not
 *   /status    what `kiln-ctl factory status --json` prints
 */
#pragma once

#include "base/loop.h"
#include "base/strbuf.h"
#include "factory/base/footprint.h"

struct factory;
struct pages;

/* http_fd is http_socket, listening, and taken. footprint is borrowed and ends before the pages do.
 */
_must_check_ int pages_new(struct loop *loop, struct factory *factory, struct footprint *footprint,
			   int http_fd, struct pages **ret_pages, struct error *err);
/* NULL does nothing. */
void pages_free(struct pages *pages);

/* Appends the pages' contents. */
void pages_metrics(struct factory *factory, const struct footprint *footprint, struct strbuf *b);
bool pages_ready(struct factory *factory, struct strbuf *reasons);
