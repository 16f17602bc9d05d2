/* factory init: a long call, during which stderr shows what the factory is doing. */
#pragma once

#include "ctl/factory_link.h"

/* template_name NULL: all that are configured. */
_must_check_ int factory_init(struct factory_link *link, const char *template_name,
			      unsigned timeout_s, struct error *err);
