/* Sends spans to a collector, by OTLP over HTTP (JSON): the factory's own, those of the shims,
 * which should have neither a client for HTTP nor a reason to wait for one, and kiln-ctl's and
 * kiln-bench's.
 *
 * They come as packets on a Unix socket of the factory's user and root (RUN_DIR/trace.sock,
 * base/trace.h). Each second, or when there are many, those that wait are sent in one POST, one
 * POST at a time. A collector that does not answer within five seconds, or says that it is busy
 * (429, 5xx), is tried again, with the same spans; one that refuses them is not. Beyond
 * TRACE_BATCH_MAX that wait, new ones are dropped. So a collector that is away costs memory up to
 * that, and nobody waits for it. What was sent and what was lost, and why, is counted
 * (kiln_trace_spans_total).
 */
#pragma once

#include "base/loop.h"
#include "factory/base/collector.h"
#include "factory/base/metrics.h"

struct trace_export;

/* collector is taken. -EADDRINUSE and other errors of listening. */
_must_check_ int trace_export_new(struct loop *loop, const char *socket_path,
				  struct collector *collector, struct metrics *metrics,
				  struct trace_export **ret_export, struct error *err);
void trace_export_free(struct trace_export *export); /* what waits is lost; NULL does nothing */
