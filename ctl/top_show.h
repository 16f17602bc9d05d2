/* What sandboxes use, from one look at them to the next. */
#pragma once

#include <stdio.h>

#include "ctl/process_usage.h"
#include "ctl/sandboxes.h"

/* A look at all of them; empty: there was none yet. */
struct top_look {
	uint64_t at_ns; /* of the monotonic clock */
	struct sandboxes sandboxes;
	struct process_usage *vmms, *shims; /* owned; one a sandbox, zero where there is none */
};

/* Takes the sandboxes, and measures their processes. */
void top_look_at(struct sandboxes *sandboxes, struct top_look *ret);
void top_look_done(struct top_look *look);

/* A line a sandbox, the busiest first: its CPU time since the look before, in per cent of one
 * processor ("-": it was not there then), and the memory that is its own. */
void top_print(const struct top_look *before, const struct top_look *now, FILE *out);
