/* What the start of a sandbox is made of, by its trace: each moment until its last StartContainer
 * is answered belongs to the step that began last of those under way, and to none where nothing
 * that is traced is under way (containerd's own work, mostly). So the phases add up to the start.
 */
#pragma once

#include "base/traces.h"

struct start_phase {
	char name[160]; /* "agent create_container"; "not traced" */
	double ms;
};

enum { START_PHASES_MAX = 64 /* different ones; of more, the rest is the last one's */ };

/* The longest first; how many there are. 0: no container was started. */
size_t start_phases(const struct start *start,
		    struct start_phase ret_phases[static START_PHASES_MAX]);
