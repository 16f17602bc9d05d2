/* The templates of one name, taken out of the store by a worker. */
#pragma once

#include "base/error.h"
#include "base/worker.h"
#include "factory/jail/jailer.h"

/* One that is over. */
struct template_removal {
	const char *name, *keep; /* as they were given */
	int number;              /* 0, or an error, which err tells */
	struct error err;
};

/* Called once, from the loop. */
typedef void (*template_removal_fn)(const struct template_removal *removal, void *userdata);

/* Removes all templates of this name but the one with the id `keep` (NULL: but none). Where the
 * workers have no room for it, it blocks and fn is called before this returns. userdata lives until
 * fn has been called, at the latest by the workers' end. */
void template_removal_start(struct worker_pool *workers, struct jailer *jailer, const char *name,
			    const char *keep, template_removal_fn fn, void *userdata);
