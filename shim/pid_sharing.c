#include "shim/pid_sharing.h"

#include "base/memory.h"
#include "base/strings.h"
#include "shim/container.h"

/* containerd was told this pid. */
static bool has_pid(const struct container *container, pid_t pid)
{
	return container_state(container) == CONTAINER_CREATED &&
	       process_pid(container_init(container)) == (uint32_t)pid;
}

/* NULL: it is that of none. */
static int find(const struct container_list *others, pid_t pid, const struct container **ret,
		struct error *err)
{
	*ret = NULL;
	for (struct container *container = TAILQ_FIRST(others); container;
	     container = container_list_next(container)) {
		if (!has_pid(container, pid))
			continue;
		if (*ret)
			return error_set(err, EOPNOTSUPP,
					 "cannot share the processes of pid %d: it is that of %s "
					 "and of %s, and it is not said which of them is meant",
					 (int)pid, container_id(*ret), container_id(container));
		*ret = container;
	}
	return 0;
}

static int share_with(const struct container *target, struct pid_sharing *ret, struct error *err)
{
	const struct pid_sharing *theirs = container_pid_sharing(target);

	if (process_state(container_init(target)) > PROCESS_RUNNING)
		return error_set(err, EBUSY,
				 "cannot share the processes of container %s: it has ended",
				 container_id(target));
	ret->with_pod = theirs->with_pod;
	if (!ret->with_pod)
		ret->with = xstrdup(theirs->with ? theirs->with : container_id(target));
	return 0;
}

int pid_sharing_choose(const struct spec *spec, const struct container_list *others,
		       struct pid_sharing *ret, struct error *err)
{
	const Grpc__LinuxNamespace *pids = spec_namespace(spec, "pid");
	const struct container *target;
	int r;

	if (!pids || str_empty(pids->path))
		return 0;
	r = find(others, spec_namespace_pid(pids), &target, err);
	if (r < 0)
		return r;
	if (target && !container_is_sandbox(target))
		return share_with(target, ret, err);
	ret->with_pod = true;
	return 0;
}

void pid_sharing_done(struct pid_sharing *sharing)
{
	free(sharing->with);
	*sharing = (struct pid_sharing){};
}
