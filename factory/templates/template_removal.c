#include "factory/templates/template_removal.h"

#include <stdlib.h>

#include "base/memory.h"
#include "factory/store/template.h"

struct work {
	char *store, *name, *keep;
	struct template_removal removal; /* its strings are those above */
	template_removal_fn fn;
};

static void work_run(void *data)
{
	struct work *work = data;

	work->removal.number = template_remove_others(work->store, work->name, work->keep,
						      &work->removal.err);
}

static void work_done(void *data, void *owner)
{
	struct work *work = data;

	work->fn(&work->removal, owner);
	error_done(&work->removal.err);
	free(work->store);
	free(work->name);
	free(work->keep);
	free(work);
}

void template_removal_start(struct worker_pool *workers, const char *store, const char *name,
			    const char *keep, template_removal_fn fn, void *userdata)
{
	struct work *work = xnew(struct work);
	const struct worker_job job = {
		.run = work_run, .done = work_done, .data = work, .owner = userdata
	};

	work->store = xstrdup(store);
	work->name = xstrdup(name);
	work->keep = keep ? xstrdup(keep) : NULL;
	work->removal = (struct template_removal){ .name = work->name, .keep = work->keep };
	work->fn = fn;
	if (worker_submit(workers, &job) < 0) {
		work_run(work);
		work_done(work, userdata);
	}
}
