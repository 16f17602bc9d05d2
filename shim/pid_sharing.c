#include "shim/pid_sharing.h"

#include "base/memory.h"
#include "base/strings.h"
#include "shim/container.h"

/* It has processes, in a pid namespace of its own. */
static bool has_own(const struct container *container)
{
	const struct pid_sharing *sharing = container_pid_sharing(container);
	const struct process *init = container_init(container);

	return !container_is_sandbox(container) &&
	       container_state(container) == CONTAINER_CREATED &&
	       process_state(init) <= PROCESS_RUNNING && !sharing->with_pod && !sharing->with;
}

static int choose(const struct container_list *others, struct pid_sharing *ret, struct error *err)
{
	struct container *container;
	const char *with = NULL;

	for (container = TAILQ_FIRST(others); container;
	     container = container_list_next(container)) {
		if (container_pid_sharing(container)->with_pod)
			break;
		if (!has_own(container))
			continue;
		if (with)
			return error_set(err, EOPNOTSUPP,
					 "cannot share the processes of one container: %s and %s "
					 "have a pid namespace each, and it is not said which of "
					 "them is meant",
					 with, container_id(container));
		with = container_id(container);
	}
	ret->with_pod = container || !with;
	ret->with = ret->with_pod ? NULL : xstrdup(with);
	return 0;
}

int pid_sharing_choose(const struct spec *spec, const struct container_list *others,
		       struct pid_sharing *ret, struct error *err)
{
	const Grpc__LinuxNamespace *pids = spec_namespace(spec, "pid");

	return pids && !str_empty(pids->path) ? choose(others, ret, err) : 0;
}

void pid_sharing_done(struct pid_sharing *sharing)
{
	free(sharing->with);
	*sharing = (struct pid_sharing){};
}
