/* The template definitions that are configured: one file, or all *.json of a folder. */
#pragma once

#include "base/strv.h"
#include "factory/store/template.h"

struct definitions {
	struct template_definition **items; /* owned, sorted by path */
	size_t count;
};

/* Two of one name are refused with both paths; a folder without definitions too (-ENOENT). On
 * failure ret_definitions is untouched. */
_must_check_ int definitions_load(const char *path, struct definitions *ret_definitions,
				  struct error *err);
/* The one of this name, whatever is wrong with the others: they are read by themselves. Where none
 * is found, and one could not be read, fails as that did; else -ENOENT. The caller frees. */
_must_check_ int definitions_find(const char *path, const char *name,
				  struct template_definition **ret, struct error *err);
void definitions_done(struct definitions *definitions);
