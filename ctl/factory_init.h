/* factory init: a long call, with what the factory is at shown meanwhile on stderr. */
#pragma once

#include "ctl/factory_link.h"

/* template_name NULL: all that are configured. */
_must_check_ int factory_init(struct factory_link *link, const char *template_name,
			      unsigned timeout_s, struct error *err);
