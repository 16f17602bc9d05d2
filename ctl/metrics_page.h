/* What Prometheus reads of a host's sandboxes, in its text format: docs/CTL.md has the families. */
#pragma once

#include "base/strbuf.h"
#include "ctl/sandboxes.h"

/* took_s: how long they were asked. A sandbox has a bounded number of series: a constant, and a
 * constant for each container. */
void metrics_page_write(const struct sandboxes *sandboxes, double took_s, struct strbuf *page);
