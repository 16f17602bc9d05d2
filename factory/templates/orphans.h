/* Templates in the store that no definition names any more. They are shown (List), and removed
 * when an operator says so (Destroy), never by themselves: the definition may come back. Found at
 * the factory's start, after which its definitions stay the same. */
#pragma once

#include "base/worker.h"
#include "factory/templates/slot.h"

struct orphans;

/* Blocks. is_configured is not kept. */
_must_check_ int orphans_new(struct worker_pool *workers, struct jailer *jailer, const char *store,
			     bool (*is_configured)(const char *name, void *userdata),
			     void *userdata, struct orphans **ret_orphans, struct error *err);
void orphans_free(struct orphans *orphans); /* after the workers' end */

/* NULL ends it. */
const struct template_manifest *orphans_next(const struct orphans *orphans,
					     const struct template_manifest *after);

/* All of that name; claimed machines go on. False, and nothing is called: there is none. */
bool orphans_remove(struct orphans *orphans, const char *name, slot_fn fn, void *userdata);
