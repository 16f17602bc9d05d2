#include "agent/sandbox.h"

#include <string.h>

#include "agent/interfaces.h"
#include "agent/machine_id.h"
#include "agent/pending.h"
#include "agent/pod_init.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strv.h"

enum { OOM_WAITERS_MAX = 4, OOM_EVENTS_MAX = 64 };
enum { CONTAINERS_MAX = 256, DESTROYERS_MAX = 16, DESTROY_TIMEOUT_MS = 30000, HOSTNAME_MAX = 63 };

#define DNS_FOLDER "/run/kata-containers/sandbox"
#define DNS_FILE   DNS_FOLDER "/resolv.conf"

static const char *const state_names[] = {
	[SANDBOX_NONE] = "none",
	[SANDBOX_READY] = "ready",
	[SANDBOX_DESTROYING] = "destroying",
};
DEFINE_STRING_TABLE(sandbox_state, enum sandbox_state, state_names)

static const unsigned next_states[] = {
	[SANDBOX_NONE] = STATE(SANDBOX_READY),
	[SANDBOX_READY] = STATE(SANDBOX_DESTROYING) | STATE(SANDBOX_NONE),
	[SANDBOX_DESTROYING] = STATE(SANDBOX_NONE),
};
const struct state_machine sandbox_states = STATE_MACHINE("sandbox", state_names, next_states);

struct sandbox {
	struct agent *agent; /* borrowed */
	enum sandbox_state state;
	char *id;                                     /* owned; NULL while NONE */
	char *hostname;                               /* ditto */
	struct container *containers[CONTAINERS_MAX]; /* owned */
	size_t ncontainers;
	struct pod_init pod_init;        /* owned */
	struct storage_list storages;    /* owned */
	struct pending_list destroyers;  /* owned; DestroySandbox */
	struct pending_list oom_waiters; /* owned; GetOOMEvent */
	struct strv oom_events;          /* owned; containers nobody has been told of */
	struct loop_timer *timer;        /* owned */
	void (*on_shut_down)(void *userdata);
	void *userdata; /* borrowed; of on_shut_down */
};

static void on_timeout(void *userdata);

static void set_state(struct sandbox *sandbox, enum sandbox_state state)
{
	state_change(&sandbox_states, sandbox->id, sandbox->state, state);
	sandbox->state = state;
}

struct sandbox *sandbox_new(struct agent *agent)
{
	struct sandbox *sandbox = xnew(struct sandbox);

	sandbox->agent = agent;
	pod_init_init(&sandbox->pod_init, agent);
	storage_list_init(&sandbox->storages, agent->scratch);
	pending_init(&sandbox->destroyers, NULL, NULL);
	pending_init(&sandbox->oom_waiters, NULL, NULL);
	sandbox->timer = loop_timer_new(agent->loop, on_timeout, sandbox);
	return sandbox;
}

void sandbox_free(struct sandbox *sandbox)
{
	struct ttrpc_call *call;

	if (!sandbox)
		return;
	while (sandbox->ncontainers > 0)
		container_free(sandbox->containers[--sandbox->ncontainers]);
	pod_init_end(&sandbox->pod_init);
	while ((call = pending_take(&sandbox->destroyers)))
		ttrpc_call_drop(call);
	while ((call = pending_take(&sandbox->oom_waiters)))
		ttrpc_call_drop(call);
	strv_done(&sandbox->oom_events);
	storage_list_done(&sandbox->storages);
	loop_timer_free(sandbox->timer);
	free(sandbox->id);
	free(sandbox->hostname);
	free(sandbox);
}

/* ---------------------------------------------------------------- create */

static int check_request(const struct sandbox *sandbox, const Grpc__CreateSandboxRequest *request,
			 struct error *err)
{
	if (sandbox->state != SANDBOX_NONE)
		return error_set(err, EEXIST, "this guest has a sandbox already: %s (%s)",
				 sandbox->id, sandbox_state_to_string(sandbox->state));
	if (!str_empty(request->sandbox_id) && !id_is_valid(request->sandbox_id))
		return error_set(err, EINVAL, "the sandbox id is not valid");
	if (!str_empty(request->guest_hook_path))
		return error_set(err, EOPNOTSUPP, "guest hooks are not supported");
	if (request->n_kernel_modules > 0)
		return error_set(err, EOPNOTSUPP,
				 "kernel modules are loaded when the template boots, not later");
	return 0;
}

static int write_dns(const Grpc__CreateSandboxRequest *request, struct error *err)
{
	_cleanup_(strbuf_done) struct strbuf text = {};

	if (request->n_dns == 0)
		return 0;
	for (size_t i = 0; i < request->n_dns; i++) {
		if (strchr(request->dns[i], '\n'))
			return error_set(err, EINVAL, "a dns entry has more than one line");
		strbuf_addf(&text, "%s\n", request->dns[i]);
	}

	int r = dir_make(DNS_FOLDER, 0755, err);

	return r < 0 ? r : file_write_volatile(DNS_FILE, text.text, text.len, 0644, err);
}

static int set_hostname(const char *hostname, struct error *err)
{
	if (sethostname(hostname, strlen(hostname)) < 0)
		return error_set_errno(err, errno, "cannot set the hostname");
	return 0;
}

/* Without a name of its own it has its id's, as much of it as a host name holds: two sandboxes
 * are not to answer to the same. */
static int name_guest(struct sandbox *sandbox, const Grpc__CreateSandboxRequest *request,
		      struct error *err)
{
	_cleanup_free_ char *short_id = xstrndup(sandbox->id, HOSTNAME_MAX);

	replace_string(&sandbox->hostname,
		       str_empty(request->hostname) ? short_id : request->hostname);
	return set_hostname(sandbox->hostname, err);
}

static void return_to_none(struct sandbox *sandbox)
{
	_cleanup_(error_done) struct error err = {};

	pod_init_end(&sandbox->pod_init);
	storage_drop_all(&sandbox->storages);
	strv_done(&sandbox->oom_events);
	machine_id_remove();
	/* Elsewhere than in a guest of its own the network is somebody else's. */
	if (sandbox->agent->is_init && interfaces_clear(&err) < 0)
		log_warning(sandbox->id, "%s", error_message(&err));
	if (path_remove(DNS_FILE, &err) < 0 || set_hostname(SANDBOX_DEFAULT_HOSTNAME, &err) < 0)
		log_warning(sandbox->id, "%s", error_message(&err));
	set_state(sandbox, SANDBOX_NONE);
	replace_string(&sandbox->id, NULL);
	replace_string(&sandbox->hostname, NULL);
}

int sandbox_create(struct sandbox *sandbox, const Grpc__CreateSandboxRequest *request,
		   struct error *err)
{
	int r = check_request(sandbox, request, err);

	if (r < 0)
		return r;
	replace_string(&sandbox->id,
		       str_empty(request->sandbox_id) ? "sandbox" : request->sandbox_id);
	set_state(sandbox, SANDBOX_READY);
	r = name_guest(sandbox, request, err);
	machine_id_make();
	if (r == 0)
		r = write_dns(request, err);
	for (size_t i = 0; r == 0 && i < request->n_storages; i++)
		r = storage_add(&sandbox->storages, request->storages[i], err);
	if (r < 0)
		return_to_none(sandbox);
	return r;
}

/* ---------------------------------------------------------------- containers */

struct container *sandbox_find(const struct sandbox *sandbox, const char *id)
{
	for (size_t i = 0; i < sandbox->ncontainers; i++)
		if (str_equal(container_id(sandbox->containers[i]), id))
			return sandbox->containers[i];
	return NULL;
}

size_t sandbox_containers(const struct sandbox *sandbox, struct container *const **ret)
{
	*ret = sandbox->containers;
	return sandbox->ncontainers;
}

int sandbox_update_storage(struct sandbox *sandbox, const Grpc__Storage *request, struct error *err)
{
	return storage_update(&sandbox->storages, request, err);
}

static void finish_destroying(struct sandbox *sandbox)
{
	Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
	struct ttrpc_call *call;

	if (sandbox->state != SANDBOX_DESTROYING || sandbox->ncontainers > 0)
		return;
	loop_timer_stop(sandbox->timer);
	return_to_none(sandbox);
	while ((call = pending_take(&sandbox->destroyers)))
		ttrpc_call_reply(call, &empty.base);
	if (sandbox->on_shut_down)
		steal_ptr(sandbox->on_shut_down)(sandbox->userdata);
}

static void on_container_gone(struct container *container, void *userdata)
{
	struct sandbox *sandbox = userdata;

	for (size_t i = 0; i < sandbox->ncontainers; i++) {
		if (sandbox->containers[i] != container)
			continue;
		sandbox->containers[i] = sandbox->containers[--sandbox->ncontainers];
		break;
	}
	finish_destroying(sandbox);
}

static void tell_oom(struct sandbox *sandbox)
{
	Grpc__OOMEvent event = GRPC__OOMEVENT__INIT;
	struct ttrpc_call *call;

	if (sandbox->oom_events.count == 0)
		return;
	call = pending_take(&sandbox->oom_waiters);
	if (!call)
		return;
	event.container_id = sandbox->oom_events.items[0];
	ttrpc_call_reply(call, &event.base);
	strv_remove(&sandbox->oom_events, 0);
}

static void on_container_oom(struct container *container, void *userdata)
{
	struct sandbox *sandbox = userdata;

	log_info(container_id(container), "out of memory: the kernel has killed a process");
	if (sandbox->oom_events.count == OOM_EVENTS_MAX)
		strv_remove(&sandbox->oom_events, 0);
	strv_add(&sandbox->oom_events, container_id(container));
	tell_oom(sandbox);
}

void sandbox_get_oom_event(struct sandbox *sandbox, struct ttrpc_call *call)
{
	if (pending_add(&sandbox->oom_waiters, OOM_WAITERS_MAX, call, NULL) < 0)
		ttrpc_call_fail_code(call, TTRPC_RESOURCE_EXHAUSTED,
				     "%d calls wait for this already", OOM_WAITERS_MAX);
	else
		tell_oom(sandbox);
}

static int check_container(const struct sandbox *sandbox,
			   const Grpc__CreateContainerRequest *request, struct error *err)
{
	if (sandbox->state != SANDBOX_READY)
		return error_set(err, EBUSY, "there is no sandbox (it is %s): create it first",
				 sandbox_state_to_string(sandbox->state));
	if (!id_is_valid(request->container_id))
		return error_set(err, EINVAL, "the container id is not valid");
	if (sandbox_find(sandbox, request->container_id))
		return error_set(err, EEXIST, "container %s exists already", request->container_id);
	if (sandbox->ncontainers >= CONTAINERS_MAX)
		return error_set(err, EAGAIN, "this sandbox has %d containers already",
				 CONTAINERS_MAX);
	return 0;
}

/* That of its first process, which is prepared: until then it has the guest's root. */
static int find_pids(const struct sandbox *sandbox, const char *id, struct pid_namespace *ret,
		     struct error *err)
{
	struct container *container = sandbox_find(sandbox, id);

	if (!container)
		return error_set(err, EINVAL,
				 "cannot share the processes of container %.64s: it is not there",
				 id);
	if (container_state(container) != CONTAINER_CREATED &&
	    container_state(container) != CONTAINER_RUNNING)
		return error_set(err, EBUSY,
				 "cannot share the processes of container %s in the %s state", id,
				 container_state_to_string(container_state(container)));
	*ret = (struct pid_namespace){ process_pidfd(container_process(container, "")), -EBADF };
	return 0;
}

/* found is room for what *ret may name. */
static int choose_pids(struct sandbox *sandbox, const Grpc__CreateContainerRequest *request,
		       struct pid_namespace *found, const struct pid_namespace **ret,
		       struct error *err)
{
	bool names_one = !str_empty(request->pidns_container);
	int r;

	if (!request->sandbox_pidns && !names_one)
		return 0;
	if (request->sandbox_pidns && names_one)
		return error_set(
			err, EINVAL,
			"the processes of the pod and those of container %.64s cannot both "
			"be shared",
			request->pidns_container);
	if (request->sandbox_pidns)
		return pod_init_get(&sandbox->pod_init, ret, err);
	r = find_pids(sandbox, request->pidns_container, found, err);
	*ret = found;
	return r;
}

void sandbox_create_container(struct sandbox *sandbox, struct ttrpc_call *call,
			      const Grpc__CreateContainerRequest *request)
{
	_cleanup_(error_done) struct error err = {};
	struct pid_namespace found;
	struct container_options options = {
		.agent = sandbox->agent,
		.storages = &sandbox->storages,
		.request = request,
		.hostname = sandbox->hostname,
		.on_gone = on_container_gone,
		.on_oom = on_container_oom,
		.userdata = sandbox,
	};
	struct container *container = NULL;
	int r = check_container(sandbox, request, &err);

	if (r == 0)
		r = choose_pids(sandbox, request, &found, &options.pids, &err);
	if (r == 0)
		r = container_new(&options, call, &container, &err);
	if (r < 0)
		ttrpc_call_fail(call, &err);
	else
		sandbox->containers[sandbox->ncontainers++] = container;
}

/* From the last to the first: one that goes moves the last into its place. */
void sandbox_step(struct sandbox *sandbox)
{
	for (size_t i = sandbox->ncontainers; i > 0; i--)
		container_step(sandbox->containers[i - 1]);
}

/* ---------------------------------------------------------------- destroy */

static void on_timeout(void *userdata)
{
	struct sandbox *sandbox = userdata;
	struct ttrpc_call *call;

	while ((call = pending_take(&sandbox->destroyers)))
		ttrpc_call_fail_code(call, TTRPC_DEADLINE_EXCEEDED,
				     "%zu containers did not end within %d s", sandbox->ncontainers,
				     DESTROY_TIMEOUT_MS / 1000);
}

static void start_destroying(struct sandbox *sandbox)
{
	if (sandbox->state != SANDBOX_DESTROYING)
		set_state(sandbox, SANDBOX_DESTROYING);
	loop_timer_start(sandbox->timer, DESTROY_TIMEOUT_MS);
	for (size_t i = sandbox->ncontainers; i > 0; i--)
		container_give_up(sandbox->containers[i - 1]);
	finish_destroying(sandbox);
}

void sandbox_destroy(struct sandbox *sandbox, struct ttrpc_call *call)
{
	Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;

	if (sandbox->state == SANDBOX_NONE) {
		ttrpc_call_reply(call, &empty.base);
		return;
	}
	if (pending_add(&sandbox->destroyers, DESTROYERS_MAX, call, NULL) < 0) {
		ttrpc_call_fail_code(call, TTRPC_RESOURCE_EXHAUSTED,
				     "the sandbox is being destroyed already");
		return;
	}
	start_destroying(sandbox);
}

void sandbox_shut_down(struct sandbox *sandbox, void (*fn)(void *userdata), void *userdata)
{
	if (sandbox->state == SANDBOX_NONE) {
		fn(userdata);
		return;
	}
	sandbox->on_shut_down = fn;
	sandbox->userdata = userdata;
	start_destroying(sandbox);
}
