/* What is asked of a task as a whole: the guest answers. */
#include "base/memory.h"
#include "google/protobuf/empty.pb-c.h"
#include "proto/agent.pb-c.h"
#include "proto/guest.pb-c.h"
#include "proto/runc_options.pb-c.h"
#include "shim/spec.h"
#include "shim/stats.h"
#include "shim/task_service_priv.h"

#define CALL_TIMEOUT_MS 10000

/* True where the guest has done it; else the call is answered and pending is gone. */
static bool is_done(const struct ttrpc_reply *reply, struct task_pending *pending)
{
	_cleanup_(error_done) struct error err = {};

	if (ttrpc_reply_error(reply, &err) == 0)
		return true;
	ttrpc_call_fail(pending->call, &err);
	task_pending_free(pending);
	return false;
}

/* What a request names, of which the guest knows: NULL: the call is answered. Borrowed. */
static struct container *find_in_guest(struct ttrpc_call *call, struct shim *shim, const char *id)
{
	struct task_target target = task_find(call, shim, id, "");

	if (!target.process || !container_is_sandbox(target.container))
		return target.process ? target.container : NULL;
	ttrpc_call_fail_code(call, TTRPC_FAILED_PRECONDITION,
			     "container %s is its pod's sandbox: no process runs for it", id);
	return NULL;
}

static void finish_empty(struct task_pending *pending)
{
	task_reply_empty(0, NULL, pending->call);
	task_pending_free(pending);
}

/* ---------------------------------------------------------------- Pids */

/* The caller frees. */
static Google__Protobuf__Any *process_details(const char *exec_id)
{
	Containerd__Runc__V1__ProcessDetails details = CONTAINERD__RUNC__V1__PROCESS_DETAILS__INIT;
	Google__Protobuf__Any *any = xnew(Google__Protobuf__Any);

	google__protobuf__any__init(any);
	details.exec_id = (char *)exec_id;
	any->type_url = xstrdup(details.base.descriptor->name);
	any->value.data = xcalloc(1,
				  containerd__runc__v1__process_details__get_packed_size(&details));
	any->value.len = containerd__runc__v1__process_details__pack(&details, any->value.data);
	return any;
}

/* Of what the guest says, an exec's id is one that the container has. The caller frees. */
static Containerd__Task__V2__PidsResponse *pids_response(
	const Kiln__Guest__V1__ListProcessesResponse *list, struct container *container)
{
	Containerd__Task__V2__PidsResponse *response = xnew(Containerd__Task__V2__PidsResponse);
	struct process *process;

	containerd__task__v2__pids_response__init(response);
	response->processes = xnew_array(Containerd__V1__Types__ProcessInfo *,
					 list->n_processes + 1);
	for (size_t i = 0; i < list->n_processes; i++) {
		Containerd__V1__Types__ProcessInfo *info = xnew(Containerd__V1__Types__ProcessInfo);
		containerd__v1__types__process_info__init(info);
		info->pid = list->processes[i]->pid;
		const char *exec_id = list->processes[i]->exec_id;
		if (*exec_id && container_find(container, exec_id, &process, NULL) == 0)
			info->info = process_details(exec_id);
		response->processes[response->n_processes++] = info;
	}
	return response;
}

static void on_listed(const struct ttrpc_reply *reply, void *userdata)
{
	struct task_pending *pending = userdata;
	Containerd__Task__V2__PidsResponse *response;

	if (!is_done(reply, pending))
		return;
	response = pids_response((const Kiln__Guest__V1__ListProcessesResponse *)reply->response,
				 pending->container);
	ttrpc_call_reply(pending->call, &response->base);
	containerd__task__v2__pids_response__free_unpacked(response, NULL);
	task_pending_free(pending);
}

/* Numbers of the guest: on the host its processes have none. */
TASK_HANDLER(pids)
{
	const Containerd__Task__V2__PidsRequest *request =
		(const Containerd__Task__V2__PidsRequest *)message;
	Kiln__Guest__V1__ListProcessesRequest list = KILN__GUEST__V1__LIST_PROCESSES_REQUEST__INIT;
	struct container *container = find_in_guest(call, userdata, request->id);

	if (!container)
		return;
	list.container_id = request->id;
	agent_call_service(container_agent(container), &kiln__guest__v1__guest__descriptor,
			   "ListProcesses", &list.base, CALL_TIMEOUT_MS, on_listed,
			   task_pending_new(call, container, NULL));
}

/* ---------------------------------------------------------------- Pause, Resume */

static void on_paused(const struct ttrpc_reply *reply, void *userdata)
{
	struct task_pending *pending = userdata;

	if (!is_done(reply, pending))
		return;
	container_set_paused(pending->container, true);
	finish_empty(pending);
}

static void on_resumed(const struct ttrpc_reply *reply, void *userdata)
{
	struct task_pending *pending = userdata;

	if (!is_done(reply, pending))
		return;
	container_set_paused(pending->container, false);
	finish_empty(pending);
}

TASK_HANDLER(pause)
{
	const Containerd__Task__V2__PauseRequest *request =
		(const Containerd__Task__V2__PauseRequest *)message;
	Grpc__PauseContainerRequest pause = GRPC__PAUSE_CONTAINER_REQUEST__INIT;
	struct container *container = find_in_guest(call, userdata, request->id);
	enum process_state state;

	if (!container)
		return;
	state = process_state(container_init(container));
	if (state != PROCESS_RUNNING) {
		ttrpc_call_fail_code(call, TTRPC_FAILED_PRECONDITION,
				     "cannot pause a container that is %s",
				     process_state_to_string(state));
		return;
	}
	pause.container_id = request->id;
	agent_call(container_agent(container), "PauseContainer", &pause.base, CALL_TIMEOUT_MS,
		   on_paused, task_pending_new(call, container, NULL));
}

TASK_HANDLER(resume)
{
	const Containerd__Task__V2__ResumeRequest *request =
		(const Containerd__Task__V2__ResumeRequest *)message;
	Grpc__ResumeContainerRequest resume = GRPC__RESUME_CONTAINER_REQUEST__INIT;
	struct container *container = find_in_guest(call, userdata, request->id);

	if (!container)
		return;
	resume.container_id = request->id;
	agent_call(container_agent(container), "ResumeContainer", &resume.base, CALL_TIMEOUT_MS,
		   on_resumed, task_pending_new(call, container, NULL));
}

/* ---------------------------------------------------------------- Update, Stats, Checkpoint */

struct update {
	struct task_pending *pending;
	Grpc__LinuxResources *resources; /* owned */
};

static void on_updated(const struct ttrpc_reply *reply, void *userdata)
{
	_cleanup_free_ struct update *update = userdata;
	struct task_pending *pending = update->pending;

	if (is_done(reply, pending)) {
		container_updated(pending->container, update->resources);
		finish_empty(pending);
	}
	grpc__linux_resources__free_unpacked(update->resources, NULL);
}

/* resources are taken. */
static void send_update(struct ttrpc_call *call, struct container *container,
			Grpc__LinuxResources *resources)
{
	Grpc__UpdateContainerRequest request = GRPC__UPDATE_CONTAINER_REQUEST__INIT;
	struct update *update = xnew(struct update);

	update->pending = task_pending_new(call, container, NULL);
	update->resources = resources;
	request.container_id = (char *)container_id(container);
	request.resources = resources;
	agent_call(container_agent(container), "UpdateContainer", &request.base, CALL_TIMEOUT_MS,
		   on_updated, update);
}

TASK_HANDLER(update)
{
	const Containerd__Task__V2__UpdateTaskRequest *request =
		(const Containerd__Task__V2__UpdateTaskRequest *)message;
	struct container *container = find_in_guest(call, userdata, request->id);
	_cleanup_(error_done) struct error err = {};
	Grpc__LinuxResources *resources = NULL;
	int r;

	if (!container)
		return;
	r = request->resources
		    ? spec_parse_resources(request->resources->value.data,
					   request->resources->value.len, &resources, &err)
		    : error_set(&err, EINVAL, "the update has no resources");
	if (r == 0)
		r = container_check_update(container, resources, &err);
	if (r == 0) {
		send_update(call, container, resources);
		return;
	}
	ttrpc_call_fail(call, &err);
	if (resources)
		grpc__linux_resources__free_unpacked(resources, NULL);
}

static void reply_stats(const struct ttrpc_reply *reply, bool has_network,
			struct task_pending *pending)
{
	Containerd__Task__V2__StatsResponse response = CONTAINERD__TASK__V2__STATS_RESPONSE__INIT;
	Google__Protobuf__Any any;

	if (!is_done(reply, pending))
		return;
	stats_convert((const Grpc__StatsContainerResponse *)reply->response,
		      stats_host_is_unified(), has_network, &any);
	response.stats = &any;
	ttrpc_call_reply(pending->call, &response.base);
	free(any.value.data);
	task_pending_free(pending);
}

static void on_stats(const struct ttrpc_reply *reply, void *userdata)
{
	reply_stats(reply, true, userdata);
}

static void on_member_stats(const struct ttrpc_reply *reply, void *userdata)
{
	reply_stats(reply, false, userdata);
}

/* A pod's sandbox container is the whole machine. */
TASK_HANDLER(stats)
{
	const Containerd__Task__V2__StatsRequest *request =
		(const Containerd__Task__V2__StatsRequest *)message;
	Grpc__StatsContainerRequest stats = GRPC__STATS_CONTAINER_REQUEST__INIT;
	Kiln__Guest__V1__StatsGuestRequest all = KILN__GUEST__V1__STATS_GUEST_REQUEST__INIT;
	struct task_target target = task_find(call, userdata, request->id, "");
	struct task_pending *pending;
	struct agent_link *agent;

	if (!target.process)
		return;
	pending = task_pending_new(call, target.container, NULL);
	agent = container_agent(target.container);
	stats.container_id = request->id;
	if (container_is_sandbox(target.container))
		agent_call_service(agent, &kiln__guest__v1__guest__descriptor, "StatsGuest",
				   &all.base, CALL_TIMEOUT_MS, on_stats, pending);
	else
		agent_call(agent, "StatsContainer", &stats.base, CALL_TIMEOUT_MS,
			   shim_has_pod(userdata) ? on_member_stats : on_stats, pending);
}

TASK_HANDLER(checkpoint)
{
	const Containerd__Task__V2__CheckpointTaskRequest *request =
		(const Containerd__Task__V2__CheckpointTaskRequest *)message;

	if (task_find(call, userdata, request->id, "").process)
		ttrpc_call_fail_code(call, TTRPC_UNIMPLEMENTED,
				     "container %s cannot be checkpointed: its processes are those "
				     "of a virtual machine",
				     request->id);
}
