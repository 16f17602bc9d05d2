/* What is asked of a container as a whole. */
#include <signal.h>

#include "agent/cgroup_stats.h"
#include "agent/cgroup_tasks.h"
#include "agent/container_priv.h"
#include "base/memory.h"

enum { PAUSERS_MAX = 16 };

/* ---------------------------------------------------------------- pause and resume */

void container_answer_pausers(struct container *container)
{
	Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
	struct ttrpc_call *call;

	if (!pending_first(&container->pausers) ||
	    cgroup_is_frozen(container->cgroup) != container->is_paused)
		return;
	while ((call = pending_take(&container->pausers)))
		ttrpc_call_reply(call, &empty.base);
}

static int check_pause(const struct container *container, bool pause, struct error *err)
{
	if (container->state != CONTAINER_CREATED && container->state != CONTAINER_RUNNING)
		return error_set(err, EBUSY, "cannot %s container %s in the %s state",
				 pause ? "pause" : "resume", container->id,
				 container_state_to_string(container->state));
	if (container->is_paused == pause)
		return error_set(err, EBUSY, "container %s is %s", container->id,
				 pause ? "paused already" : "not paused");
	return 0;
}

void container_pause(struct container *container, struct ttrpc_call *call, bool pause)
{
	_cleanup_(error_done) struct error err = {};
	int r = check_pause(container, pause, &err);

	if (r < 0) {
		ttrpc_call_fail(call, &err);
		return;
	}
	r = cgroup_freeze(container->cgroup, pause);
	if (r == 0)
		r = container_watch_cgroup(container);
	if (r == 0)
		r = pending_add(&container->pausers, PAUSERS_MAX, call, NULL);
	if (r < 0) {
		error_set_errno(&err, r, "cannot %s container %s", pause ? "pause" : "resume",
				container->id);
		ttrpc_call_fail(call, &err);
		return;
	}
	container->is_paused = pause;
	container_answer_pausers(container);
}

/* ---------------------------------------------------------------- all of its processes */

static struct member *find_member(const struct container *container, pid_t pid)
{
	struct member *member;

	TAILQ_FOREACH (member, &container->members, link)
		if (process_state(member->process) != PROCESS_EXITED &&
		    process_pid(member->process) == pid)
			return member;
	return NULL;
}

/* Without a cgroup: those that the agent has started. */
static void signal_members(struct container *container, int signo)
{
	struct member *member;

	TAILQ_FOREACH (member, &container->members, link)
		(void)!process_signal(member->process, signo);
}

int container_signal(struct container *container, int signo, struct error *err)
{
	_cleanup_(pid_list_done) struct pid_list list = {};
	int r = 0;

	if (!container->cgroup) {
		signal_members(container, signo);
		return 0;
	}
	if (signo == SIGKILL) {
		r = cgroup_kill(container->cgroup);
		return r < 0 ? error_set_errno(err, r, "cannot kill container %s", container->id)
			     : 0;
	}
	r = pid_list_read(cgroup_fd(container->cgroup), &list, err);
	for (size_t i = 0; r == 0 && i < list.count; i++) {
		const struct member *member = find_member(container, list.pids[i]);
		if (member)
			(void)!process_signal(member->process, signo);
		else
			(void)kill(list.pids[i], signo);
	}
	return r;
}

int container_list(const struct container *container, Kiln__Guest__V1__ListProcessesResponse **ret,
		   struct error *err)
{
	_cleanup_(pid_list_done) struct pid_list list = {};
	Kiln__Guest__V1__ListProcessesResponse *response;
	int r = container->cgroup ? pid_list_read(cgroup_fd(container->cgroup), &list, err)
				  : error_set(err, EOPNOTSUPP, "no cgroup v2 is mounted");

	if (r < 0)
		return r;
	response = xnew(Kiln__Guest__V1__ListProcessesResponse);
	kiln__guest__v1__list_processes_response__init(response);
	response->processes = xnew_array(Kiln__Guest__V1__Process *, list.count + 1);
	for (size_t i = 0; i < list.count; i++) {
		Kiln__Guest__V1__Process *process = xnew(Kiln__Guest__V1__Process);
		const struct member *member = find_member(container, list.pids[i]);
		kiln__guest__v1__process__init(process);
		process->pid = (uint32_t)list.pids[i];
		if (member && member != container->init)
			process->exec_id = xstrdup(process_id(member->process));
		response->processes[response->n_processes++] = process;
	}
	*ret = response;
	return 0;
}

/* ---------------------------------------------------------------- what it may use, and uses */

int container_update(struct container *container, const Grpc__LinuxResources *resources,
		     struct error *err)
{
	int r = cgroup_update(container->cgroup, resources, err);

	return r < 0 ? error_wrap(err, "cannot update container %s", container->id) : 0;
}

int container_stats(const struct container *container, Grpc__StatsContainerResponse **ret,
		    struct error *err)
{
	return cgroup_stats_read(cgroup_fd(container->cgroup), ret, err);
}
