/* One line on stderr that says how far the run is; nothing where it is switched off. */
#pragma once

#include <stdbool.h>

struct progress {
	bool on;
	bool terminal;        /* rewrite the line; else one line a scenario */
	const char *scenario; /* borrowed */
};

/* wanted: also where stderr is no terminal. */
void progress_init(struct progress *progress, bool wanted);
void progress_begin(struct progress *progress, const char *scenario);
/* done of total; total 0 where it is not known. */
void progress_step(struct progress *progress, unsigned done, unsigned total);
void progress_end(struct progress *progress);
