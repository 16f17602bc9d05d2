#include "factory/templates/template_removal.h"

#include <stdlib.h>

#include "base/memory.h"
#include "factory/jail/jailer_job.h"

struct work {
	struct jailer *jailer;
	char *name, *keep;
	struct template_removal removal; /* its strings are those above */
	template_removal_fn fn;
};

static void work_run(void *data)
{
	struct jailer_request request = { .verb = JAILER_FORGET };
	struct work *work = data;
	json_t *answer = NULL;

	strv_add(&request.text, work->name);
	if (work->keep)
		strv_add(&request.text, work->keep);
	work->removal.number = jailer_job(work->jailer, &request, -1, &answer, &work->removal.err);
	json_decref(answer);
	jailer_request_done(&request);
}

static void work_done(void *data, void *owner)
{
	struct work *work = data;

	work->fn(&work->removal, owner);
	error_done(&work->removal.err);
	free(work->name);
	free(work->keep);
	free(work);
}

void template_removal_start(struct worker_pool *workers, struct jailer *jailer, const char *name,
			    const char *keep, template_removal_fn fn, void *userdata)
{
	struct work *work = xnew(struct work);
	const struct worker_job job = {
		.run = work_run, .done = work_done, .data = work, .owner = userdata
	};

	work->jailer = jailer;
	work->name = xstrdup(name);
	work->keep = keep ? xstrdup(keep) : NULL;
	work->removal = (struct template_removal){ .name = work->name, .keep = work->keep };
	work->fn = fn;
	if (worker_submit(workers, &job) < 0) {
		work_run(work);
		work_done(work, userdata);
	}
}
