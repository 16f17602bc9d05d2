#include "agent/container.h"

#include <sched.h>
#include <signal.h>
#include <string.h>

#include "agent/container_priv.h"
#include "agent/device_numbers.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/trace.h"

enum { PROCESSES_MAX = 512, REMOVERS_MAX = 16, REMOVE_TIMEOUT_S = 10 };

static const char *const state_names[] = {
	[CONTAINER_CREATING] = "creating", [CONTAINER_CREATED] = "created",
	[CONTAINER_RUNNING] = "running",   [CONTAINER_STOPPED] = "stopped",
	[CONTAINER_REMOVING] = "removing",
};
DEFINE_STRING_TABLE(container_state, enum container_state, state_names)

static const unsigned next_states[] = {
	[CONTAINER_CREATING] = STATE(CONTAINER_CREATED) | STATE(CONTAINER_REMOVING),
	[CONTAINER_CREATED] = STATE(CONTAINER_RUNNING) | STATE(CONTAINER_STOPPED) |
			      STATE(CONTAINER_REMOVING),
	[CONTAINER_RUNNING] = STATE(CONTAINER_STOPPED) | STATE(CONTAINER_REMOVING),
	[CONTAINER_STOPPED] = STATE(CONTAINER_REMOVING),
	[CONTAINER_REMOVING] = 0,
};
const struct state_machine container_states = STATE_MACHINE("container", state_names, next_states);

static void set_state(struct container *container, enum container_state state)
{
	state_change(&container_states, container->id, container->state, state);
	container->state = state;
}

const char *container_id(const struct container *container)
{
	return container->id;
}

enum container_state container_state(const struct container *container)
{
	return container->state;
}

/* ---------------------------------------------------------------- members */

static void reply_empty(struct ttrpc_call *call)
{
	Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;

	if (call)
		ttrpc_call_reply(call, &empty.base);
}

/* NOT_FOUND is for containers and processes that do not exist, not for what lies in them. */
static void hide_not_found(struct error *err)
{
	if (err->number == ENOENT || err->number == ESRCH)
		err->number = EINVAL;
}

static void member_free(struct member *member)
{
	if (member->call)
		ttrpc_call_fail_code(member->call, TTRPC_CANCELLED,
				     "the container was removed meanwhile");
	process_free(member->process);
	error_done(&member->failure);
	free(member);
}

static void free_member_later(void *userdata)
{
	member_free(userdata);
}

static void member_leave(struct container *container, struct member *member)
{
	TAILQ_REMOVE(&container->members, member, link);
	container->nmembers--;
}

static struct member *member_find(struct container *container, const char *exec_id)
{
	struct member *member;

	if (str_empty(exec_id) || str_equal(exec_id, container->id) ||
	    str_equal(exec_id, container->init_exec_id))
		return container->init;
	TAILQ_FOREACH (member, &container->members, link)
		if (member != container->init && str_equal(process_id(member->process), exec_id))
			return member;
	return NULL;
}

struct process *container_process(struct container *container, const char *exec_id)
{
	struct member *member = member_find(container, exec_id);

	return member ? member->process : NULL;
}

static bool has_living(const struct container *container)
{
	struct member *member;

	TAILQ_FOREACH (member, &container->members, link)
		if (process_state(member->process) != PROCESS_EXITED)
			return true;
	return false;
}

/* Takes member in when its process was started; else frees it. */
static int member_start(struct member *member, struct process_options *options, struct error *err)
{
	struct container *container = member->container;

	options->agent = container->agent;
	options->userdata = member;

	int r = process_new(options, &member->process, err);

	if (r < 0) {
		free(member);
		return r;
	}
	TAILQ_INSERT_TAIL(&container->members, member, link);
	container->nmembers++;
	return 0;
}

/* ---------------------------------------------------------------- removal */

static void kill_all(struct container *container)
{
	struct member *member;

	if (container->cgroup && cgroup_kill(container->cgroup) == 0)
		return;
	/* Without a cgroup the end of a pid namespace's first process takes the others along. */
	TAILQ_FOREACH (member, &container->members, link)
		(void)!process_signal(member->process, SIGKILL);
}

static void on_cgroup_changed(int fd _unused_, unsigned events _unused_, void *userdata)
{
	container_step(userdata);
}

int container_watch_cgroup(struct container *container)
{
	int r = 0;

	if (container->cgroup_watch)
		return 0;
	r = cgroup_open_events(container->cgroup, &container->cgroup_events);
	if (r == 0)
		container->cgroup_watch = loop_watch_new(
			container->agent->loop, container->cgroup_events, LOOP_READ | LOOP_EDGE,
			on_cgroup_changed, container);
	return r;
}

/* True where it is gone. Something the agent is not the parent of may still be in it. */
static bool remove_cgroup(struct container *container)
{
	int r = cgroup_remove(container->cgroup);

	if (r == 0)
		return true;
	if (r != -EBUSY) {
		log_warning(container->id, "its cgroup is left: %s", strerror(-r));
		return true;
	}
	(void)!container_watch_cgroup(container);
	return false;
}

static void drop_storages(struct container *container)
{
	for (size_t i = container->mount_points.count; i > 0; i--)
		storage_drop(container->storages, container->mount_points.items[i - 1]);
	strv_done(&container->mount_points);
}

static void free_container_later(void *userdata)
{
	container_free(userdata);
}

void container_step(struct container *container)
{
	struct ttrpc_call *call;

	container_answer_pausers(container);
	if (container->state != CONTAINER_REMOVING || container->gone || has_living(container) ||
	    !remove_cgroup(container))
		return;
	container->gone = true;
	trace_end(TRACE_REMOVE_CONTAINER, NULL, &container->span);
	drop_storages(container);
	if (container->failed_call)
		ttrpc_call_fail(steal_ptr(container->failed_call), &container->failure);
	while ((call = pending_take(&container->removers)))
		reply_empty(call);
	while ((call = pending_take(&container->pausers)))
		ttrpc_call_fail_code(call, TTRPC_CANCELLED, "container %s is removed",
				     container->id);
	oom_watch_free(steal_ptr(container->oom));
	container->on_gone(container, container->userdata);
	loop_defer(container->agent->loop, free_container_later, container);
}

static void on_remove_timeout(void *userdata)
{
	struct container *container = userdata;
	struct ttrpc_call *call;

	while ((call = pending_take(&container->removers)))
		ttrpc_call_fail_code(call, TTRPC_DEADLINE_EXCEEDED,
				     "container %s still has living processes", container->id);
}

void container_give_up(struct container *container)
{
	if (container->state != CONTAINER_REMOVING)
		set_state(container, CONTAINER_REMOVING);
	kill_all(container);
	container_step(container);
}

void container_remove(struct container *container, struct ttrpc_call *call, unsigned timeout_s)
{
	if (pending_add(&container->removers, REMOVERS_MAX, call, NULL) < 0) {
		ttrpc_call_fail_code(call, TTRPC_RESOURCE_EXHAUSTED,
				     "container %s is being removed already", container->id);
		return;
	}
	container->span = trace_begin();
	if (!container->remove_timer)
		container->remove_timer = loop_timer_new(container->agent->loop, on_remove_timeout,
							 container);
	loop_timer_start(container->remove_timer,
			 (uint64_t)(timeout_s ? timeout_s : REMOVE_TIMEOUT_S) * 1000);
	container_give_up(container);
}

/* ---------------------------------------------------------------- the first process */

static void on_oom(void *userdata)
{
	struct container *container = userdata;

	container->on_oom(container, container->userdata);
}

/* After the answer: nothing of it is in a hurry. */
static void watch_memory(struct container *container)
{
	if (container->cgroup)
		container->oom = oom_watch_new(container->agent->loop, cgroup_fd(container->cgroup),
					       on_oom, container);
}

static void on_init_failed(struct member *init, struct error *err)
{
	struct container *container = init->container;

	error_wrap(err, "unable to start container process");
	hide_not_found(err);
	if (container->state == CONTAINER_CREATING) {
		error_move(&container->failure, err);
		container->failed_call = steal_ptr(init->call);
		set_state(container, CONTAINER_REMOVING);
	} else if (init->call) {
		ttrpc_call_fail(steal_ptr(init->call), err);
	}
}

static void on_init_event(struct process *process _unused_, enum process_event event,
			  struct error *err, void *userdata)
{
	struct member *init = userdata;
	struct container *container = init->container;

	switch (event) {
	case PROCESS_EVENT_READY:
		if (container->state == CONTAINER_CREATING)
			set_state(container, CONTAINER_CREATED);
		trace_end(TRACE_CREATE_CONTAINER, NULL, &container->span);
		reply_empty(steal_ptr(init->call));
		watch_memory(container);
		return;
	case PROCESS_EVENT_STARTED:
		if (container->state == CONTAINER_CREATED)
			set_state(container, CONTAINER_RUNNING);
		trace_end(TRACE_START_CONTAINER, NULL, &container->span);
		reply_empty(steal_ptr(init->call));
		return;
	case PROCESS_EVENT_FAILED:
		on_init_failed(init, err);
		return;
	case PROCESS_EVENT_EXITED:
		oom_watch_check(container->oom);
		if (container->state != CONTAINER_REMOVING)
			set_state(container, CONTAINER_STOPPED);
		/* Else the kernel ends the others. */
		if (container->shares_processes)
			kill_all(container);
		return;
	}
}

struct plans {
	struct process_plan process;
	struct rootfs_plan rootfs;
	struct namespace_plan namespaces;
};

static void plans_done(struct plans *plans)
{
	process_plan_done(&plans->process);
	rootfs_plan_done(&plans->rootfs);
}

static int refuse_ports(uint32_t in, uint32_t out, uint32_t errout, struct error *err)
{
	return in || out || errout
		       ? error_set(err, EOPNOTSUPP,
				   "stdio by vsock ports is not supported: it goes by WriteStdin, "
				   "ReadStdout and ReadStderr")
		       : 0;
}

static int plans_init(const Grpc__CreateContainerRequest *request, struct plans *plans,
		      struct error *err)
{
	const Grpc__Spec *spec = request->oci;
	int r;

	if (request->n_shared_mounts > 0)
		return error_set(err, EOPNOTSUPP, "shared mounts of the guest are not supported");
	r = refuse_ports(request->stdin_port, request->stdout_port, request->stderr_port, err);
	if (r < 0)
		return r;
	r = device_numbers_set(request, err);
	if (r == 0)
		r = process_plan_init(spec->process, request->string_user, &plans->process, err);
	if (r == 0)
		r = rootfs_plan_init(spec, &plans->rootfs, err);
	if (r == 0)
		r = namespace_plan_init(spec, &plans->namespaces, err);
	return r;
}

static int plan_sharing(const struct container *container, struct plans *plans, struct error *err)
{
	plans->namespaces.clone_flags &= ~(uint64_t)CLONE_NEWPID;
	if (!container->cgroup)
		return error_set(err, EOPNOTSUPP,
				 "processes cannot be shared: no cgroup v2 is mounted, and nothing "
				 "else says whose they are");
	return rootfs_plan_share_proc(&plans->rootfs, err);
}

/* Without a name of its own a new UTS namespace has the sandbox's. */
static const char *choose_hostname(const struct container_options *options,
				   const struct plans *plans)
{
	const char *own = options->request->oci->hostname;

	return str_empty(own) && plans->namespaces.clone_flags & CLONE_NEWUTS ? options->hostname
									      : own;
}

static int start_init(struct container *container,
		      const struct container_options *container_options, struct plans *plans,
		      struct error *err)
{
	const Grpc__CreateContainerRequest *request = container_options->request;
	struct child_plan child = {
		.process = &plans->process,
		.rootfs = &plans->rootfs,
		.namespaces = &plans->namespaces,
		.pids = container_options->pids,
		.hostname = choose_hostname(container_options, plans),
		.filter = &container->filter,
		.join_pidfd = -EBADF,
		.no_stdin = request->no_stdin,
	};
	struct process_options options = {
		.id = container->id,
		.plan = &child,
		.clone_flags = plans->namespaces.clone_flags,
		.cgroup_fd = cgroup_fd(container->cgroup),
		.on_event = on_init_event,
	};

	struct member *member = xnew(struct member);
	member->container = container;
	int r = member_start(member, &options, err);
	if (r == 0)
		container->init = member;
	return r;
}

/* ---------------------------------------------------------------- create and start */

static int add_storages(struct container *container, const Grpc__CreateContainerRequest *request,
			struct error *err)
{
	for (size_t i = 0; i < request->n_storages; i++) {
		int r = storage_add(container->storages, request->storages[i], err);
		if (r < 0)
			return r;
		strv_add(&container->mount_points, request->storages[i]->mount_point);
	}
	return 0;
}

static int build(struct container *container, const struct container_options *options,
		 struct error *err)
{
	_cleanup_(plans_done) struct plans plans = {};
	const Grpc__CreateContainerRequest *request = options->request;
	const Grpc__Spec *spec = request->oci;
	int r;

	if (!spec)
		return error_set(err, EINVAL, "no OCI spec is given");
	r = plans_init(request, &plans, err);
	if (r == 0)
		r = seccomp_profile_compile(spec->linux ? spec->linux->seccomp : NULL,
					    &container->filter, err);
	if (r == 0)
		r = add_storages(container, request, err);
	struct trace_span span = trace_begin();

	if (r == 0)
		r = cgroup_new(container->id, spec->linux ? spec->linux->resources : NULL,
			       &container->cgroup, err);
	trace_end(TRACE_CGROUP, NULL, &span);
	if (r == 0 && container->shares_processes)
		r = plan_sharing(container, &plans, err);
	span = trace_begin();
	if (r == 0)
		r = start_init(container, options, &plans, err);
	trace_end(TRACE_CLONE, NULL, &span);
	return r;
}

int container_new(const struct container_options *options, struct ttrpc_call *call,
		  struct container **ret, struct error *err)
{
	const Grpc__CreateContainerRequest *request = options->request;
	struct container *container = xnew(struct container);

	container->span = trace_begin();
	container->agent = options->agent;
	container->id = xstrdup(request->container_id);
	container->init_exec_id = xstrdup(request->exec_id);
	container->storages = options->storages;
	container->cgroup_events = -EBADF;
	container->shares_processes = options->pids != NULL;
	container->on_gone = options->on_gone;
	container->on_oom = options->on_oom;
	container->userdata = options->userdata;
	TAILQ_INIT(&container->members);
	pending_init(&container->removers, NULL, NULL);
	pending_init(&container->pausers, NULL, NULL);

	int r = build(container, options, err);

	if (r < 0) {
		hide_not_found(err);
		(void)!cgroup_remove(container->cgroup);
		drop_storages(container);
		container_free(container);
		return r;
	}
	container->init->call = call;
	*ret = container;
	return 0;
}

void container_free(struct container *container)
{
	struct member *member;
	struct ttrpc_call *call;

	while ((member = TAILQ_FIRST(&container->members))) {
		/* The analyzer does not follow TAILQ_REMOVE.
		 * NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
		member_leave(container, member);
		member_free(member);
	}
	while ((call = pending_take(&container->removers)))
		ttrpc_call_drop(call);
	while ((call = pending_take(&container->pausers)))
		ttrpc_call_drop(call);
	if (container->failed_call)
		ttrpc_call_fail(container->failed_call, &container->failure);
	oom_watch_free(container->oom);
	loop_watch_free(container->cgroup_watch);
	close_fd(container->cgroup_events);
	loop_timer_free(container->remove_timer);
	cgroup_free(container->cgroup);
	seccomp_program_done(&container->filter);
	strv_done(&container->mount_points);
	error_done(&container->failure);
	free(container->init_exec_id);
	free(container->id);
	free(container);
}

void container_start(struct container *container, struct ttrpc_call *call)
{
	_cleanup_(error_done) struct error err = {};

	container->span = trace_begin();
	if (container->state != CONTAINER_CREATED || container->init->call) {
		ttrpc_call_fail_code(call, TTRPC_FAILED_PRECONDITION,
				     "cannot start container %s in the %s state", container->id,
				     container_state_to_string(container->state));
		return;
	}
	if (process_start(container->init->process, &err) < 0)
		ttrpc_call_fail(call, &err);
	else
		container->init->call = call;
}

/* ---------------------------------------------------------------- exec */

/* It never was: when the caller hears of the failure, its id is free again. */
static void forget_failed(struct member *member)
{
	member_leave(member->container, member);
	ttrpc_call_fail(steal_ptr(member->call), &member->failure);
	/* Not before its callbacks are over. */
	loop_defer(member->container->agent->loop, free_member_later, member);
}

static void explain_exec(struct error *err)
{
	error_wrap(err, "exec failed: unable to start container process");
	hide_not_found(err);
}

static void on_exec_event(struct process *process _unused_, enum process_event event,
			  struct error *err, void *userdata)
{
	struct member *member = userdata;

	switch (event) {
	case PROCESS_EVENT_READY:
		return;
	case PROCESS_EVENT_STARTED:
		reply_empty(steal_ptr(member->call));
		return;
	case PROCESS_EVENT_FAILED:
		explain_exec(err);
		member->failed = true;
		error_move(&member->failure, err);
		return;
	case PROCESS_EVENT_EXITED:
		oom_watch_check(member->container->oom);
		if (member->failed)
			forget_failed(member);
		return;
	}
}

/* Makes room by forgetting an exec of which nothing is wanted any more. */
static void forget_spent(struct container *container)
{
	struct member *member;

	TAILQ_FOREACH (member, &container->members, link) {
		/* The analyzer does not follow TAILQ_REMOVE.
		 * NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
		if (member == container->init || member->call || !process_is_spent(member->process))
			continue;
		member_leave(container, member);
		member_free(member);
		return;
	}
}

/* An id may be used again once its process has ended. */
static int claim_exec_id(struct container *container, const char *id, struct error *err)
{
	struct member *member;

	if (!id_is_valid(id))
		return error_set(err, EINVAL, "the exec id is not valid");
	member = member_find(container, id);
	if (member && (member == container->init || member->failed ||
		       process_state(member->process) != PROCESS_EXITED))
		return error_set(err, EEXIST, "process %s exists already in container %s", id,
				 container->id);
	if (member) {
		member_leave(container, member);
		member_free(member);
	}
	if (container->nmembers >= PROCESSES_MAX)
		forget_spent(container);
	if (container->nmembers >= PROCESSES_MAX)
		return error_set(err, EAGAIN, "container %s has %d processes already",
				 container->id, PROCESSES_MAX);
	return 0;
}

static int start_member(struct container *container, struct ttrpc_call *call,
			struct process_options *options, struct error *err)
{
	struct member *member = xnew(struct member);

	member->container = container;

	int r = member_start(member, options, err);

	if (r == 0)
		member->call = call;
	return r;
}

/* A group that has enabled controllers for others below it takes no process itself. Who has done
 * that in a container (systemd, a container engine) has moved the first process below before, and
 * there an exec is welcome, too. */
static int start_beside_init(struct container *container, struct ttrpc_call *call,
			     struct process_options *options, struct error *err)
{
	_cleanup_close_ int fd = -EBADF;
	int r = cgroup_birth_fd_of(container->cgroup, process_pid(container->init->process), &fd,
				   err);

	if (r < 0)
		return r;
	options->cgroup_fd = fd;
	return start_member(container, call, options, err);
}

static int start_exec(struct container *container, struct ttrpc_call *call,
		      const Grpc__ExecProcessRequest *request, struct error *err)
{
	_cleanup_(process_plan_done) struct process_plan plan = {};
	struct child_plan child = {
		.process = &plan,
		.filter = &container->filter,
		.no_stdin = request->no_stdin,
	};
	struct process_options options = {
		.id = request->exec_id,
		.plan = &child,
		.on_event = on_exec_event,
	};
	int r = process_plan_init(request->process, request->string_user, &plan, err);

	if (r < 0)
		return r;
	r = cgroup_birth_fd(container->cgroup, &options.cgroup_fd, err);
	if (r < 0)
		return r;
	child.join_pidfd = process_pidfd(container->init->process);
	r = start_member(container, call, &options, err);
	if (container->cgroup && (r == -EBUSY || r == -EOPNOTSUPP))
		r = start_beside_init(container, call, &options, err);
	if (r < 0)
		explain_exec(err);
	return r;
}

void container_exec(struct container *container, struct ttrpc_call *call,
		    const Grpc__ExecProcessRequest *request)
{
	_cleanup_(error_done) struct error err = {};
	int r = 0;

	if (container->state != CONTAINER_CREATED && container->state != CONTAINER_RUNNING)
		r = error_set(&err, EBUSY, "cannot exec in a container in the %s state",
			      container_state_to_string(container->state));
	if (r == 0 && container->is_paused)
		r = error_set(&err, EBUSY, "cannot exec in a paused container");
	if (r == 0)
		r = refuse_ports(request->stdin_port, request->stdout_port, request->stderr_port,
				 &err);
	if (r == 0)
		r = claim_exec_id(container, request->exec_id, &err);
	if (r == 0)
		r = start_exec(container, call, request, &err);
	if (r < 0)
		ttrpc_call_fail(call, &err);
}
