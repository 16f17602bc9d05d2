#include "shim/container.h"

#include <signal.h>
#include <sys/param.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/trace.h"
#include "factory/client/claim.h"
#include "proto/events.pb-c.h"
#include "proto/root_note.h"
#include "shim/container_priv.h"
#include "shim/layer_image.h"
#include "shim/netns.h"
#include "shim/rootfs.h"
#include "shim/seccomp.h"
#include "shim/share_folder.h"
#include "shim/sysctls.h"
#include "shim/timestamp.h"
#include "shim/upper_image.h"
#include "shim/user_namespace.h"
#include "shim/volumes.h"

#define REMOVE_TIMEOUT_MS 30000
#define EXECS_MAX         1024

static const char *const container_state_names[] = {
	[CONTAINER_CREATING] = "creating",
	[CONTAINER_CREATED] = "created",
	[CONTAINER_REMOVING] = "removing",
	[CONTAINER_GONE] = "gone",
};
DEFINE_STRING_TABLE(container_state, enum container_state, container_state_names)

static const unsigned container_next[] = {
	[CONTAINER_CREATING] = STATE(CONTAINER_CREATED) | STATE(CONTAINER_GONE),
	[CONTAINER_CREATED] = STATE(CONTAINER_REMOVING),
	[CONTAINER_REMOVING] = STATE(CONTAINER_GONE),
	[CONTAINER_GONE] = 0,
};
const struct state_machine container_states = STATE_MACHINE("container", container_state_names,
							    container_next);

struct exec {
	TAILQ_ENTRY(exec) link;
	struct process *process; /* one reference */
};

static void unmount_files(struct container *container)
{
	volumes_unmount(steal_ptr(container->volumes));
	rootfs_unmount(steal_ptr(container->rootfs));
	root_note_remove(steal_ptr(container->root_note));
	share_folder_remove(&container->folder);
	if (container->image_slots)
		slots_release(container->image_slots, (size_t)container->image.slot);
	layer_image_done(&container->image);
	slots_unref(steal_ptr(container->image_slots));
	container_disks_release(steal_ptr(container->disks), NULL, NULL);
}

static void container_free(void *userdata)
{
	struct container *container = userdata;

	if (container->init)
		process_wait_cancel(container->init, container);
	process_unref(container->init);
	hooks_free(container->hooks);
	error_done(&container->failure);
	netns_keeper_free(container->number);
	unmount_files(container);
	spec_free(container->spec);
	settings_done(&container->settings);
	layer_mounts_done(&container->layers);
	engine_root_free(container->engine_root);
	pid_sharing_done(&container->pids);
	free(container->id);
	free(container->bundle);
	free(container);
}

struct container *container_ref(struct container *container)
{
	container->refs++;
	return container;
}

void container_unref(struct container *container)
{
	if (container && --container->refs == 0)
		loop_defer(container->loop, container_free, container);
}

void container_finish(struct container *container, const struct error *err)
{
	container_done_fn done = steal_ptr(container->done);

	trace_end_as(TRACE_CREATE, NULL, &container->creation,
		     &(struct trace_detail){ .container = container->id,
					     .error = err->number ? error_message(err) : NULL });
	container->creation = (struct trace_span){};
	container->request = NULL;
	if (done)
		done(-err->number, err, container->done_userdata);
}

static void forget_execs(struct container *container)
{
	struct exec *exec;

	while ((exec = TAILQ_FIRST(&container->execs))) {
		TAILQ_REMOVE(&container->execs, exec, link);
		process_end(exec->process);
		process_unref(exec->process);
		free(exec);
	}
	container->nexecs = 0;
}

void container_set_state(struct container *container, enum container_state state)
{
	bool failed = container->state == CONTAINER_CREATING;

	state_change(&container_states, container->id, container->state, state);
	container->state = state;
	if (state != CONTAINER_GONE)
		return;
	forget_execs(container);
	if (container->init)
		process_end(container->init);
	unmount_files(container);
	container->on_gone(container, failed, container->userdata);
}

static struct stdio stdio_copy(const char *in, const char *out, const char *err, bool terminal)
{
	return (struct stdio){
		.in = xstrdup(in),
		.out = xstrdup(out),
		.err = xstrdup(err),
		.terminal = terminal,
	};
}

static void on_running(void *userdata)
{
	const struct container *container = userdata;

	hooks_run(container->hooks, HOOKS_START, NULL, NULL);
}

static int make_init(struct container *container, struct error *err)
{
	const Containerd__Task__V2__CreateTaskRequest *request = container->request;
	struct process_options options = {
		.loop = container->loop,
		.agent = sandbox_agent(container->sandbox),
		.events = container->events,
		.container_id = container->id,
		.exec_id = "",
		.ns = container->ns,
		.kill_s = container->settings.kill_s,
		.is_stand_in = container->is_sandbox,
		.on_running = container->hooks ? on_running : NULL,
		.userdata = container,
		.stdio = stdio_copy(request->stdin, request->stdout, request->stderr,
				    request->terminal),
	};

	return process_new(&options, &container->init, err);
}

/* What the request names, or what the engine has mounted itself. */
static int find_root(struct container *container, struct error *err)
{
	int r = 0;

	container->root_mounts = container->request->rootfs;
	container->nroot_mounts = container->request->n_rootfs;
	if (container->nroot_mounts == 0)
		r = engine_root_read(container->spec->rootfs, &container->engine_root, err);
	if (!container->engine_root)
		return r;
	if (container->settings.rootfs == ROOTFS_SHARE)
		return error_set(
			err, EOPNOTSUPP,
			"rootfs: %s is an overlay that the engine has mounted itself, and "
			"a machine cannot write to one: io.kiln.rootfs=share needs another "
			"storage driver",
			container->spec->rootfs);
	container->root_mounts = &container->engine_root;
	container->nroot_mounts = 1;
	return 0;
}

/* Which images there are, and that what is written can be kept: before a machine is asked for. */
static int load_layers(struct container *container, struct error *err)
{
	struct layer_mounts *layers = &container->layers;
	int r = layer_mounts_find(container->root_mounts, container->nroot_mounts, layers, err);

	if (r == 0 && layers->writable.path) {
		r = upper_image_check(&layers->writable, err);
		container->makes_upper = r == -ENOENT && layers->writable.bytes > 0;
		if (container->makes_upper) {
			error_done(err);
			r = 0;
		}
	}
	if (r == 0 && layers->count > 0 && !layers->writable.path && !layers->upper)
		container->spec->oci->root->readonly = true;
	if (r == -ENOENT)
		err->number = EINVAL; /* to containerd "not found" is a task */
	return r;
}

/* It was told to containerd for one of the pod: the VMM's, or a container's own. */
static bool is_of_pod(pid_t pid, const void *userdata)
{
	const struct container_options *options = userdata;

	if (pid == sandbox_vmm_pid(options->sandbox))
		return pid != 0;
	for (struct container *container = TAILQ_FIRST(options->others); container;
	     container = container_list_next(container))
		if (container->init && pid != 0 && process_pid(container->init) == (uint32_t)pid)
			return true;
	return false;
}

static bool is_in_pod(const struct container_options *options)
{
	for (struct container *container = TAILQ_FIRST(options->others); container;
	     container = container_list_next(container))
		if (container->is_sandbox)
			return true;
	return options->has_pod;
}

static int load(struct container *container, const struct container_options *options,
		struct error *err)
{
	bool is_mapped;
	int r;

	if (*container->request->checkpoint)
		return error_set(err, EOPNOTSUPP, "checkpoints are not supported");
	r = FAULT_ERROR("create.loading", err);
	if (r == 0)
		r = spec_load(container->bundle, &container->spec, err);
	if (r < 0)
		return r == -ENOENT
			       ? error_set(err, EINVAL, "%s has no " SPEC_FILE, container->bundle)
			       : r;
	container->spec->in_pod = options->has_pod;
	r = settings_load(container->request->options, &container->settings, err);
	if (r == 0)
		r = settings_annotate(&container->settings, container->spec, err);
	if (r < 0)
		return r;
	container->is_sandbox = spec_is_sandbox(container->spec);
	container->is_member = !container->is_sandbox && is_in_pod(options);
	r = spec_check_namespaces(container->spec, container->is_sandbox,
				  options->has_pod ? NULL : is_of_pod, options, err);
	if (r == 0)
		r = user_namespace_check(container->spec, err);
	if (r == 0 && container->spec->oci->process)
		r = large_ids_take(sandbox_large_ids(container->sandbox),
				   container->spec->oci->process->user, err);
	if (r < 0)
		return r;
	container->hooks = hooks_new(container->loop, container->spec, container->id,
				     container->bundle);
	if (container->is_sandbox) {
		sysctls_keep(options->sysctls, container->spec->oci->linux);
		return make_init(container, err);
	}
	if (container->spec->oci->linux) {
		sysctls_add(options->sysctls, container->spec->oci->linux);
		limits_take(&container->limits, container->spec->oci->linux->resources);
	}
	r = find_root(container, err);
	if (r == 0)
		r = user_namespace_take(container->spec, container->root_mounts,
					container->nroot_mounts, &is_mapped, err);
	if (r == 0)
		r = load_layers(container, err);
	if (r == 0)
		r = rootfs_choose((enum rootfs_driver)container->settings.rootfs,
				  &container->layers, container->root_mounts,
				  container->nroot_mounts, &container->rootfs_driver, err);
	if (r == 0 && is_mapped && container->rootfs_driver != ROOTFS_OVERLAY)
		r = error_set(err, EOPNOTSUPP,
			      "linux.uidMappings need io.kiln.rootfs=overlay: the owners in what "
			      "is written would be mapped");
	if (r < 0)
		return r;
	r = pid_sharing_choose(container->spec, options->others, &container->pids, err);
	if (r < 0)
		return r;
	spec_for_guest(container->spec, container->id);
	r = seccomp_precompile(container->spec->oci->linux, err);
	if (r < 0)
		return r;
	container->spec->oci->process->terminal = container->request->terminal;
	return make_init(container, err);
}

int container_new(const struct container_options *options, struct container **ret_container,
		  struct error *err)
{
	struct container *container = xnew(struct container);
	int r;

	*container = (struct container){
		.refs = 1,
		.loop = options->loop,
		.sandbox = options->sandbox,
		.events = options->events,
		.shim_address = options->shim_address,
		.ns = options->ns,
		.id = xstrdup(options->request->id),
		.bundle = xstrdup(options->request->bundle),
		.state = CONTAINER_CREATING,
		.used_ms = clock_monotonic_ms(),
		.request = options->request,
		.folder = SHARE_FOLDER_NONE,
		.image = LAYER_IMAGE_EMPTY,
		.execs = TAILQ_HEAD_INITIALIZER(container->execs),
		.on_gone = options->on_gone,
		.userdata = options->userdata,
	};
	r = load(container, options, err);
	if (r < 0) {
		container_unref(container);
		return r;
	}
	*ret_container = container;
	return 0;
}

void container_end(struct container *container)
{
	container_abort(container);
	container->is_over = true;
	forget_execs(container);
	process_end(container->init);
}

/* A start that waits for the network. */
struct start {
	struct container *container; /* one reference */
	struct process *process;     /* ditto */
	process_done_fn done;
	void *userdata;
	struct trace_context traced; /* its caller's */
};

static void on_network_settled(int number, const struct error *why, void *userdata)
{
	_cleanup_free_ struct start *start = userdata;
	_cleanup_(error_done) struct error err = {};

	if (number < 0) {
		(void)error_set(&err, number, "the pod's network: %s", error_message(why));
		start->done(number, &err, start->userdata);
	} else {
		struct trace_context outer = trace_enter(&start->traced);
		process_start(start->process, start->done, start->userdata);
		(void)trace_enter(&outer);
	}
	process_unref(start->process);
	container_unref(start->container);
}

void container_start(struct container *container, struct process *process, process_done_fn done,
		     void *userdata)
{
	struct start *start;

	if (!sandbox_must_settle_network(container->sandbox)) {
		process_start(process, done, userdata);
		return;
	}
	start = xnew(struct start);
	*start = (struct start){
		.container = container_ref(container),
		.process = process_ref(process),
		.done = done,
		.userdata = userdata,
		.traced = trace_now(),
	};
	sandbox_settle_network(container->sandbox, on_network_settled, start);
}

void container_remove_in_guest(struct container *container, ttrpc_reply_fn fn, void *userdata)
{
	Grpc__RemoveContainerRequest request = GRPC__REMOVE_CONTAINER_REQUEST__INIT;

	struct trace_context outer = trace_enter(&container->span.self);

	request.container_id = container->id;
	agent_call(sandbox_agent(container->sandbox), "RemoveContainer", &request.base,
		   REMOVE_TIMEOUT_MS, fn, userdata);
	(void)trace_enter(&outer);
}

static void publish_delete(const struct container *container)
{
	Containerd__Events__TaskDelete event = CONTAINERD__EVENTS__TASK_DELETE__INIT;
	Google__Protobuf__Timestamp time = timestamp_from_ns(process_exited_ns(container->init));

	event.container_id = container->id;
	event.id = container->id;
	event.pid = process_pid(container->init);
	event.exit_status = process_exit_status(container->init);
	event.exited_at = &time;
	events_publish(container->events, &event.base);
}

static void on_hooks_done(int number, const struct error *err, void *userdata)
{
	_cleanup_(container_unref_cleanup) struct container *container = userdata;
	static const struct error none;

	if (number < 0)
		log_warning(container->id, "after its end: %s", error_message(err));
	if (!container->is_over) {
		/* Execs that were left exit first: TaskDelete is the last that is heard of it. */
		forget_execs(container);
		publish_delete(container);
		container_set_state(container, CONTAINER_GONE);
	}
	trace_end_as(TRACE_DELETE, NULL, &container->span,
		     &(struct trace_detail){ .container = container->id });
	container_finish(container, &none);
}

static void on_disks_out(void *userdata)
{
	struct container *container = userdata;
	static const struct error none;

	if (container->hooks && !container->is_over)
		hooks_run(container->hooks, HOOKS_STOP, on_hooks_done, container);
	else
		on_hooks_done(0, &none, container);
}

/* Its disks are out before containerd hears that it is deleted: a snapshotter takes the device away
 * then. */
static void on_removed(const struct ttrpc_reply *reply, void *userdata)
{
	struct container *container = userdata;

	if (reply->code != TTRPC_OK && reply->code != TTRPC_UNAVAILABLE)
		log_warning(container->id, "the guest did not remove the container: %s",
			    reply->message);
	if (container->disks && !container->is_over)
		container_disks_release(steal_ptr(container->disks), on_disks_out, container);
	else
		on_disks_out(container);
}

static void remove_stopped(int number _unused_, const struct error *err _unused_, void *userdata)
{
	struct container *container = userdata;

	if (container->is_sandbox || container->is_over)
		loop_defer(container->loop, on_disks_out, container);
	else
		container_remove_in_guest(container, on_removed, container);
}

static void on_killed(int number _unused_, const struct error *err _unused_, void *userdata)
{
	struct container *container = userdata;

	process_wait(container->init, remove_stopped, container);
}

int container_delete(struct container *container, container_done_fn done, void *userdata,
		     struct error *err)
{
	enum process_state state = process_state(container->init);

	if (state != PROCESS_CREATED && state != PROCESS_STOPPED)
		return error_set(err, EBUSY, "container %s is not stopped", container->id);
	int r = FAULT_ERROR("delete.begun", err);
	if (r < 0)
		return r;
	container->done = done;
	container->done_userdata = userdata;
	container->span = trace_begin();
	container_ref(container);
	container_set_state(container, CONTAINER_REMOVING);
	if (state == PROCESS_CREATED)
		process_kill(container->init, SIGKILL, false, on_killed, container);
	else
		remove_stopped(0, NULL, container);
	return 0;
}

void container_lost(struct container *container, uint32_t exit_status)
{
	struct exec *exec;

	if (container->state == CONTAINER_CREATING) {
		container_break_creation(container);
		return;
	}
	process_lost(container->init, exit_status);
	TAILQ_FOREACH (exec, &container->execs, link) {
		process_lost(exec->process, exit_status);
	}
}

static struct exec *find_exec(const struct container *container, const char *exec_id)
{
	struct exec *exec;

	TAILQ_FOREACH (exec, &container->execs, link)
		if (str_equal(process_exec_id(exec->process), exec_id))
			return exec;
	return NULL;
}

struct process *container_init(const struct container *container)
{
	return container->init;
}

int container_find(struct container *container, const char *exec_id, struct process **ret_process,
		   struct error *err)
{
	struct exec *exec = *exec_id ? find_exec(container, exec_id) : NULL;

	if (*exec_id && !exec)
		return error_set(err, ENOENT, "process %s: not found", exec_id);
	*ret_process = exec ? exec->process : container->init;
	return 0;
}

static int check_exec(const struct container *container,
		      const Containerd__Task__V2__ExecProcessRequest *request, struct error *err)
{
	if (!id_is_valid(request->exec_id))
		return error_set(err, EINVAL, "\"%s\" is no valid exec id", request->exec_id);
	if (find_exec(container, request->exec_id))
		return error_set(err, EEXIST, "exec id %s already exists", request->exec_id);
	if (process_state(container->init) != PROCESS_RUNNING)
		return error_set(err, EBUSY, "cannot exec in a container that is %s",
				 process_state_to_string(process_state(container->init)));
	if (container->is_sandbox)
		return error_set(err, EBUSY,
				 "cannot exec in container %s: it is its pod's sandbox, "
				 "for which no process runs",
				 container->id);
	if (container->is_paused)
		return error_set(err, EBUSY, "cannot exec in a container that is paused");
	if (container->nexecs >= EXECS_MAX)
		return error_set(err, EAGAIN, "container %s has %u execs already", container->id,
				 EXECS_MAX);
	if (!request->spec)
		return error_set(err, EINVAL, "the exec has no process");
	return FAULT_ERROR("exec.adding", err);
}

static void publish_exec_added(const struct container *container, const char *exec_id)
{
	Containerd__Events__TaskExecAdded event = CONTAINERD__EVENTS__TASK_EXEC_ADDED__INIT;

	event.container_id = container->id;
	event.exec_id = (char *)exec_id;
	events_publish(container->events, &event.base);
}

int container_add_exec(struct container *container,
		       const Containerd__Task__V2__ExecProcessRequest *request, struct error *err)
{
	struct process_options options = {
		.loop = container->loop,
		.agent = sandbox_agent(container->sandbox),
		.events = container->events,
		.container_id = container->id,
		.exec_id = request->exec_id,
		.ns = container->ns,
		.kill_s = container->settings.kill_s,
		.pid = process_pid(container->init),
	};
	struct process *process;
	struct exec *exec;
	int r;

	r = check_exec(container, request, err);
	if (r < 0)
		return r;
	r = spec_parse_process(request->spec->value.data, request->spec->value.len, &options.spec,
			       err);
	if (r < 0)
		return r;
	options.stdio = stdio_copy(request->stdin, request->stdout, request->stderr,
				   request->terminal);
	r = process_new(&options, &process, err);
	if (r < 0)
		return r;
	exec = xnew(struct exec);
	exec->process = process;
	TAILQ_INSERT_TAIL(&container->execs, exec, link);
	container->nexecs++;
	publish_exec_added(container, request->exec_id);
	return 0;
}

int container_delete_exec(struct container *container, struct process *process, struct error *err)
{
	enum process_state state = process_state(process);
	struct exec *exec = find_exec(container, process_exec_id(process));

	if (state != PROCESS_CREATED && state != PROCESS_STOPPED)
		return error_set(err, EBUSY, "process %s is not stopped", process_exec_id(process));
	TAILQ_REMOVE(&container->execs, exec, link);
	container->nexecs--;
	container->used_ms = clock_monotonic_ms();
	process_close_output(process);
	process_end(process);
	process_unref(process);
	free(exec);
	return 0;
}

uint64_t container_used_ms(const struct container *container)
{
	uint64_t last = MAX(container->used_ms, process_used_ms(container->init));
	const struct exec *exec;

	if (container->state == CONTAINER_CREATING)
		return clock_monotonic_ms();
	TAILQ_FOREACH (exec, &container->execs, link)
		last = MAX(last, process_used_ms(exec->process));
	return last;
}

bool container_is_sandbox(const struct container *container)
{
	return container->is_sandbox;
}

void container_tell_oom(const struct container *container)
{
	Containerd__Events__TaskOOM event = CONTAINERD__EVENTS__TASK_OOM__INIT;

	event.container_id = container->id;
	events_publish(container->events, &event.base);
}

void container_set_paused(struct container *container, bool paused)
{
	Containerd__Events__TaskPaused pause = CONTAINERD__EVENTS__TASK_PAUSED__INIT;
	Containerd__Events__TaskResumed resume = CONTAINERD__EVENTS__TASK_RESUMED__INIT;

	container->is_paused = paused;
	pause.container_id = resume.container_id = container->id;
	events_publish(container->events, paused ? &pause.base : &resume.base);
}

bool container_is_paused(const struct container *container)
{
	return container->is_paused;
}

int container_check_update(const struct container *container, const Grpc__LinuxResources *resources,
			   struct error *err)
{
	const struct claim *machine = sandbox_claim(container->sandbox);
	struct limits limits = container->limits;
	int r;

	if (!machine)
		return 0;
	limits_take(&limits, resources);
	r = limits_check_update(&container->limits, &limits, machine->vcpus, machine->memory_mib,
				err);
	return r < 0 ? error_wrap(err, "container %s", container->id) : 0;
}

void container_updated(struct container *container, const Grpc__LinuxResources *resources)
{
	limits_take(&container->limits, resources);
}

struct agent_link *container_agent(const struct container *container)
{
	return sandbox_agent(container->sandbox);
}

enum container_state container_state(const struct container *container)
{
	return container->state;
}

const char *container_id(const struct container *container)
{
	return container->id;
}

const char *container_bundle(const struct container *container)
{
	return container->bundle;
}

struct disk *container_find_volume(const struct container *container, const char *path,
				   char **ret_guest_path)
{
	return container_disks_find_volume(container->disks, path, ret_guest_path);
}

void container_list_add(struct container_list *list, struct container *container)
{
	TAILQ_INSERT_TAIL(list, container, link);
}

void container_list_remove(struct container_list *list, struct container *container)
{
	TAILQ_REMOVE(list, container, link);
}

struct container *container_list_find(const struct container_list *list, const char *id)
{
	struct container *container;

	TAILQ_FOREACH (container, list, link)
		if (str_equal(container->id, id))
			return container;
	return NULL;
}

const struct pid_sharing *container_pid_sharing(const struct container *container)
{
	return &container->pids;
}

struct container *container_list_next(struct container *container)
{
	return TAILQ_NEXT(container, link);
}
