/* The templates in a store that can be trusted. Those of another version of Kiln are named in the
 * log. */
#pragma once

#include "factory/store/template.h"

struct template_list {
	struct template_manifest **items; /* owned */
	size_t count;
};

/* name "": of any name. Blocks. */
_must_check_ int template_list_load(const char *store, const char *name,
				    struct template_list *ret_list, struct error *err);
void template_list_done(struct template_list *list);
