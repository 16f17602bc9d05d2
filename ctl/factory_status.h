/* kiln-ctl factory status: once, or again and again (--watch). */
#pragma once

#include "ctl/factory_link.h"

#define WATCH_DEFAULT_S 2

struct status_options {
	const char *socket;
	const char *template_name; /* NULL: all */
	bool json;
	unsigned watch_s; /* between two looks; 0: once */
};

/* One look; returns an exit code. */
int factory_status_show(struct factory_link *link, const struct status_options *options);

/* Looks until SIGINT, which ends the program with CTL_OK; a factory that is off is shown as
 * such, and looked for again. A terminal is redrawn in place, else block follows block. */
int factory_status_watch(const struct status_options *options);

/* What there is to say where no factory answers. */
void factory_status_show_off(const struct status_options *options, FILE *out);
