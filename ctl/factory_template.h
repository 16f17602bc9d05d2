/* kiln-ctl factory inspect | rebuild | verify | console NAME: one template. Each returns an exit
 * code. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "ctl/factory_link.h"

struct template_args {
	const char *name;
	unsigned timeout_s; /* 0: the verb's own */
	bool json;
};

int factory_template_inspect(struct factory_link *link, const struct template_args *args);
int factory_template_rebuild(struct factory_link *link, const struct template_args *args);
/* CTL_FAILED too where a file is not what was baked. */
int factory_template_verify(struct factory_link *link, const struct template_args *args);
int factory_template_console(struct factory_link *link, const struct template_args *args);

/* What inspect prints for people. */
void inspect_print(const Kiln__Factory__V1__InspectResponse *template, FILE *out);
