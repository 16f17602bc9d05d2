#include "shim/sandbox.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/trace.h"
#include "base/waiters.h"
#include "factory/client/claim.h"
#include "factory/guest/guest_root.h"
#include "factory/guest/guest_share.h"
#include "proto/agent.pb-c.h"
#include "shim/guest_trace.h"
#include "shim/health_watch.h"
#include "shim/lifetime.h"
#include "shim/oom_events.h"
#include "shim/pod_cgroup.h"
#include "shim/pod_link.h"
#include "shim/scratch_watch.h"
#include "shim/spec.h"

#define CREATE_TIMEOUT_MS 30000

static const char *const sandbox_state_names[] = {
	[SANDBOX_NONE] = "none",           [SANDBOX_CLAIMING] = "claiming",
	[SANDBOX_UNWANTED] = "unwanted",   [SANDBOX_RUNNING] = "running",
	[SANDBOX_RELEASING] = "releasing",
};
DEFINE_STRING_TABLE(sandbox_state, enum sandbox_state, sandbox_state_names)

static const unsigned sandbox_next[] = {
	[SANDBOX_NONE] = STATE(SANDBOX_CLAIMING),
	[SANDBOX_CLAIMING] = STATE(SANDBOX_NONE) | STATE(SANDBOX_UNWANTED) |
			     STATE(SANDBOX_RUNNING) | STATE(SANDBOX_RELEASING),
	[SANDBOX_UNWANTED] = STATE(SANDBOX_NONE) | STATE(SANDBOX_RELEASING),
	[SANDBOX_RUNNING] = STATE(SANDBOX_NONE) | STATE(SANDBOX_RELEASING),
	[SANDBOX_RELEASING] = STATE(SANDBOX_NONE),
};
const struct state_machine sandbox_states = STATE_MACHINE("sandbox", sandbox_state_names,
							  sandbox_next);

struct sandbox {
	struct loop *loop;
	char *id;
	char *ns;
	char *other_name; /* ID.NAMESPACE, for the factory; NULL: the id is free */
	guest_lost_fn on_lost;
	void (*on_given_up)(void *userdata);
	void (*on_oom)(const char *container_id, void *userdata);
	uint64_t (*used_ms)(void *userdata);
	void (*on_over)(const char *why, void *userdata);
	void *userdata;
	enum sandbox_state state;
	struct settings settings; /* of the machine; empty in NONE */
	char *hostname;
	struct claim *claim;          /* RUNNING */
	struct slots *slots;          /* RUNNING */
	struct dax_windows *windows;  /* RUNNING */
	struct disks *disks;          /* RUNNING */
	struct lower_folders *lowers; /* RUNNING */
	struct large_ids large_ids;   /* given out so far */
	struct virtiofs *virtiofs;    /* RUNNING: where a container asked for it */
	struct pod_link *network;     /* from CLAIMING on; NULL: its pod has none */
	struct waiters joiners;       /* for the network to be joined */
	enum virtiofs_locks virtiofs_locks;
	struct agent_link *agent;
	struct scratch_watch *scratch; /* RUNNING, once it was created; NULL: none to watch */
	struct health_watch *health;   /* ditto; NULL: it is not to be asked */
	struct oom_events *oom;        /* ditto */
	struct lifetime *lifetime;     /* ditto; NULL: it has no limits */
	struct loop_watch *death;      /* RUNNING: on the VMM's pidfd */
	pid_t vmm_pid;
	uint64_t claimed_ns;        /* of the last machine, since the epoch */
	struct error error;         /* why CreateSandbox failed, or the network, or virtio-fs */
	struct trace_span creation; /* CreateSandbox */
	struct release *release;    /* RELEASING, once it is under way */
	struct trace_span giving_back;
	bool lost; /* it has ended by itself */
	struct waiters acquirers;
	struct error acquire_error; /* what they are told */
	bool is_early;              /* prepared, and nobody has acquired it yet */
	bool claim_again;           /* once released: what was prepared does not fit */
	struct settings wanted;     /* of claim_again */
	char *wanted_hostname;
	void (*on_released)(void *userdata);
	void *released_userdata;
};

static void set_state(struct sandbox *sandbox, enum sandbox_state state)
{
	state_change(&sandbox_states, sandbox->id, sandbox->state, state);
	sandbox->state = state;
}

/* The factory's answer is awaited. */
static bool is_claiming(const struct sandbox *sandbox)
{
	return sandbox->state == SANDBOX_CLAIMING || sandbox->state == SANDBOX_UNWANTED;
}

/* Why there is no machine stays known until another one is claimed: containerd 2.x asks once more,
 * by version 2, where the first answer was UNIMPLEMENTED. */
static void tell_acquirers(void *userdata)
{
	struct sandbox *sandbox = userdata;
	_cleanup_(error_done) struct error err = {};

	if (is_claiming(sandbox))
		return; /* asked again since; they are told then */
	if (sandbox->acquire_error.number)
		(void)error_set(&err, sandbox->acquire_error.number, "%s",
				error_message(&sandbox->acquire_error));
	else if (sandbox->state != SANDBOX_RUNNING)
		(void)error_set(&err, ECANCELED, "the sandbox is being released");
	waiters_answer(&sandbox->acquirers, -err.number, &err);
}

static void report_lost(struct sandbox *sandbox, enum guest_loss loss, const char *why)
{
	if (sandbox->state != SANDBOX_RUNNING)
		return;
	log_error(sandbox->id, "the sandbox is lost: %s", why);
	sandbox->lost = true;
	sandbox->on_lost(loss, sandbox->userdata);
}

static void on_vmm_death(int fd _unused_, unsigned events _unused_, void *userdata)
{
	struct sandbox *sandbox = userdata;

	loop_watch_set(sandbox->death, 0);
	report_lost(sandbox, GUEST_GONE, "its VMM has ended");
}

static void on_agent_lost(enum guest_loss loss, void *userdata)
{
	report_lost(userdata, loss,
		    loss == GUEST_SILENT ? "its guest does not answer: the machine is ended"
					 : "its agent has ended");
}

/* Of two limits of which each may be none. */
static uint64_t shorter(uint64_t a, uint64_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

static void start_watches(struct sandbox *sandbox)
{
	const struct claim *claim = sandbox->claim;

	sandbox->health = health_watch_new(&(struct health_watch_options){
		.loop = sandbox->loop,
		.agent = sandbox->agent,
		.sandbox_id = sandbox->id,
		.interval_s = sandbox->settings.check_s,
		.misses = sandbox->settings.check_misses,
	});
	sandbox->lifetime = lifetime_new(&(struct lifetime_options){
		.loop = sandbox->loop,
		.limits = { .ttl_s = shorter(sandbox->settings.ttl_s, claim->ttl_s),
			    .idle_s = shorter(sandbox->settings.idle_s, claim->idle_s),
			    .cpu_percent = sandbox->settings.idle_cpu_percent },
		.vmm_pid = sandbox->vmm_pid,
		.used_ms = sandbox->used_ms,
		.on_over = sandbox->on_over,
		.userdata = sandbox->userdata,
	});
	sandbox->oom = oom_events_new(sandbox->agent, sandbox->on_oom, sandbox->userdata);
	if (claim->scratch_dir)
		sandbox->scratch = scratch_watch_new(&(struct scratch_watch_options){
			.loop = sandbox->loop,
			.agent = sandbox->agent,
			.sandbox_id = sandbox->id,
			.dir = claim->scratch_dir,
			.disk_bytes = claim->scratch_bytes,
		});
}

/* While the guest is busy with the first container: it takes a while. */
static void join_cgroup(struct sandbox *sandbox)
{
	if (sandbox->settings.cgroup)
		(void)!pod_cgroup_join(sandbox->settings.cgroup, sandbox->claim->vm_id,
				       sandbox->vmm_pid, &sandbox->error);
}

static void on_created(const struct ttrpc_reply *reply, void *userdata)
{
	struct sandbox *sandbox = userdata;

	trace_end_as(
		TRACE_CREATE_SANDBOX, NULL, &sandbox->creation,
		&(struct trace_detail){ .error = reply->code == TTRPC_OK ? NULL : reply->message });
	if (sandbox->state != SANDBOX_RUNNING || sandbox->error.number)
		return;
	if (reply->code == TTRPC_OK) {
		claim_confirm(sandbox->claim);
		start_watches(sandbox);
		join_cgroup(sandbox);
		return;
	}
	(void)ttrpc_reply_error(reply, &sandbox->error);
	(void)error_wrap(&sandbox->error, "cannot create the sandbox in its guest");
}

static void on_network_told(const struct ttrpc_reply *reply, void *userdata)
{
	struct sandbox *sandbox = userdata;

	if (sandbox->state != SANDBOX_RUNNING || reply->code == TTRPC_OK || sandbox->error.number)
		return;
	(void)ttrpc_reply_error(reply, &sandbox->error);
	(void)error_wrap(&sandbox->error, "cannot give the guest the pod's network");
}

/* None of it is waited for: the agent handles calls in order. */
static void create_in_guest(struct sandbox *sandbox)
{
	Grpc__CreateSandboxRequest request = GRPC__CREATE_SANDBOX_REQUEST__INIT;
	_cleanup_(storages_done) struct storages storages = {};

	guest_share_add(&storages, sandbox->claim->share_tag);
	guest_root_add_lower_share(&storages);
	request.sandbox_id = sandbox->id;
	request.hostname = sandbox->hostname;
	request.storages = storages.items;
	request.n_storages = storages.count;
	guest_trace_begin(sandbox->agent);
	if (sandbox->network)
		pod_link_start(sandbox->network, &(struct pod_link_machine){
							 .vmm_pidfd = sandbox->claim->vmm_pidfd,
							 .vm_id = sandbox->claim->vm_id,
							 .vhost_net = sandbox->claim->vhost_net,
							 .slots = sandbox->slots,
							 .disks = sandbox->disks,
							 .agent = sandbox->agent,
							 .on_reply = on_network_told,
							 .userdata = sandbox,
						 });
	sandbox->creation = trace_begin();
	struct trace_context outer = trace_enter(&sandbox->creation.self);
	agent_call(sandbox->agent, "CreateSandbox", &request.base, CREATE_TIMEOUT_MS, on_created,
		   sandbox);
	(void)trace_enter(&outer);
}

static void start_claim(struct sandbox *sandbox, const struct settings *settings,
			const char *hostname);

/* A machine on its way back; the sandbox may be freed before that has ended. */
struct release {
	struct sandbox *sandbox; /* NULL: freed */
	char *vm_id;             /* owned */
	char *cgroup;            /* owned; of its pod, NULL: it is in none */
};

static void released(struct sandbox *sandbox, int number, const struct error *err)
{
	void (*fn)(void *userdata) = steal_ptr(sandbox->on_released);

	trace_end_as(TRACE_RELEASE, NULL, &sandbox->giving_back,
		     &(struct trace_detail){ .error = number < 0 ? error_message(err) : NULL });
	sandbox->giving_back = (struct trace_span){};
	if (number < 0)
		log_warning(sandbox->id, "the machine was not released cleanly: %s",
			    error_message(err));
	settings_done(&sandbox->settings);
	if (sandbox->state != SANDBOX_NONE)
		set_state(sandbox, SANDBOX_NONE);
	if (fn || !sandbox->claim_again)
		trace_root_end(sandbox->lost ? "the machine has ended by itself" : NULL);
	if (fn)
		fn(sandbox->released_userdata);
	else if (sandbox->claim_again && !waiters_empty(&sandbox->acquirers))
		start_claim(sandbox, &sandbox->wanted, sandbox->wanted_hostname);
}

static void on_released(int number, const struct error *err, void *userdata)
{
	struct release *release = userdata;
	struct sandbox *sandbox = release->sandbox;

	if (release->cgroup)
		pod_cgroup_leave(release->cgroup, release->vm_id);
	free(release->vm_id);
	free(release->cgroup);
	free(release);
	if (!sandbox)
		return;
	sandbox->release = NULL;
	released(sandbox, number, err);
}

static void release_machine(void *userdata)
{
	struct sandbox *sandbox = userdata;

	sandbox->giving_back = trace_begin();
	disks_close(steal_ptr(sandbox->disks));
	slots_close(steal_ptr(sandbox->slots));
	dax_windows_close(steal_ptr(sandbox->windows));
	virtiofs_stop(steal_ptr(sandbox->virtiofs));
	lower_folders_free(steal_ptr(sandbox->lowers));
	agent_link_set(sandbox->agent, NULL);
	sandbox->release = xnew(struct release);
	sandbox->release->sandbox = sandbox;
	sandbox->release->vm_id = xstrdup(sandbox->claim->vm_id);
	sandbox->release->cgroup = xstrdup(sandbox->settings.cgroup);
	if (claim_release(sandbox->loop, steal_ptr(sandbox->claim), sandbox->settings.factory,
			  on_released, sandbox->release))
		sandbox->on_given_up(sandbox->userdata);
}

static void free_network(void *userdata)
{
	pod_link_free(userdata);
}

static void drop_network(struct sandbox *sandbox)
{
	if (sandbox->network)
		loop_defer(sandbox->loop, free_network, steal_ptr(sandbox->network));
}

static void on_network_left(void *userdata)
{
	struct sandbox *sandbox = userdata;

	drop_network(sandbox);
	release_machine(sandbox);
}

static void leave_network(void *userdata)
{
	struct sandbox *sandbox = userdata;

	if (sandbox->network)
		pod_link_leave(sandbox->network, on_network_left, sandbox);
	else
		release_machine(sandbox);
}

static void release(struct sandbox *sandbox)
{
	set_state(sandbox, SANDBOX_RELEASING);
	loop_watch_free(steal_ptr(sandbox->death));
	scratch_watch_free(steal_ptr(sandbox->scratch));
	health_watch_free(steal_ptr(sandbox->health));
	oom_events_free(steal_ptr(sandbox->oom));
	lifetime_free(steal_ptr(sandbox->lifetime));
	if (trace_on)
		guest_trace_end(sandbox->agent, leave_network, sandbox);
	else
		leave_network(sandbox);
}

/* To containerd "not found" is a task, so a missing factory or template is "unavailable". */
static void set_claim_error(struct sandbox *sandbox, const struct error *err)
{
	(void)error_set(&sandbox->acquire_error, err->number == ENOENT ? ECONNREFUSED : err->number,
			"%s", error_message(err));
}

static void claim_failed(struct sandbox *sandbox, const struct error *err)
{
	set_claim_error(sandbox, err);
	drop_network(sandbox);
	set_state(sandbox, SANDBOX_RELEASING);
	tell_acquirers(sandbox);
	released(sandbox, 0, NULL);
}

/* True the first time: the name is taken. */
static bool choose_other_name(struct sandbox *sandbox)
{
	if (sandbox->other_name || sandbox->state != SANDBOX_CLAIMING)
		return false;
	sandbox->other_name = xasprintf("%s.%s", sandbox->id, sandbox->ns);
	return id_is_valid(sandbox->other_name);
}

/* Where nobody has acquired it yet, the next to do so claims by it. */
static void claim_by_other_name(struct sandbox *sandbox)
{
	log_info(sandbox->id, "the factory has a sandbox of this name: it is %s there",
		 sandbox->other_name);
	settings_copy(&sandbox->wanted, &sandbox->settings);
	replace_string(&sandbox->wanted_hostname, sandbox->hostname);
	sandbox->claim_again = true;
	drop_network(sandbox);
	set_state(sandbox, SANDBOX_RELEASING);
	released(sandbox, 0, NULL);
}

/* The machine takes calls from here on. */
static void run(struct sandbox *sandbox)
{
	const struct claim *claim = sandbox->claim;

	set_state(sandbox, SANDBOX_RUNNING);
	agent_link_set(sandbox->agent, claim->agent);
	sandbox->slots = slots_new(sandbox->loop, steal_fd(&sandbox->claim->qmp_fd),
				   claim->block_slots, sandbox->id);
	sandbox->windows = dax_windows_new(&(struct dax_windows_options){
		.loop = sandbox->loop,
		.vm_dir = claim->vm_dir,
		.sandbox_id = sandbox->id,
		.carried = claim->nimages,
		.count = claim->dax_windows,
		.bytes = claim->dax_window_bytes,
	});
	sandbox->lowers = lower_folders_new(claim->share_dir);
	sandbox->disks = disks_new(sandbox->loop, sandbox->slots, sandbox->agent, sandbox->id);
	sandbox->death = loop_watch_new(sandbox->loop, claim->vmm_pidfd, LOOP_READ, on_vmm_death,
					sandbox);
	struct trace_context outer = trace_enter(&claim->traced);
	create_in_guest(sandbox);
	(void)trace_enter(&outer);
	tell_acquirers(sandbox);
}

/* The claim's answer and the pod's network, whichever comes last. */
static void run_when_ready(struct sandbox *sandbox)
{
	_cleanup_(error_done) struct error err = {};

	if (!sandbox->claim || (sandbox->network && pod_link_is_busy(sandbox->network)))
		return;
	if (sandbox->network &&
	    pod_link_assign(sandbox->network, sandbox->claim->network_cards, &err) < 0) {
		(void)error_set(&sandbox->acquire_error, err.number, "the pod's network: %s",
				error_message(&err));
		release(sandbox);
		tell_acquirers(sandbox);
		return;
	}
	run(sandbox);
}

static void on_network(int number, const struct error *err, void *userdata)
{
	struct sandbox *sandbox = userdata;

	if (sandbox->state == SANDBOX_CLAIMING) {
		run_when_ready(sandbox);
		return;
	}
	if (sandbox->state == SANDBOX_UNWANTED && sandbox->claim) {
		release(sandbox); /* it has waited for this alone */
		return;
	}
	if (number < 0 && sandbox->state == SANDBOX_RUNNING && !sandbox->error.number)
		(void)error_set(&sandbox->error, number, "the pod's network: %s",
				error_message(err));
	waiters_answer(&sandbox->joiners, number, sandbox->error.number ? &sandbox->error : err);
}

static void cancel_joiners(struct sandbox *sandbox)
{
	_cleanup_(error_done) struct error err = {};

	(void)error_set(&err, ECANCELED, "the sandbox is being released");
	waiters_answer(&sandbox->joiners, -err.number, &err);
}

static void on_claimed(int number, struct claim *claim, const struct error *err, void *userdata)
{
	struct sandbox *sandbox = userdata;

	if (number == -EEXIST && choose_other_name(sandbox)) {
		claim_by_other_name(sandbox);
		return;
	}
	if (number < 0) {
		claim_failed(sandbox, err);
		return;
	}
	log_info(sandbox->id, "machine %s (%s%s%s) claimed in %lu us", claim->vm_id, claim->origin,
		 *claim->reason ? ": " : "", claim->reason, (unsigned long)claim->claim_us);
	sandbox->claim = claim;
	sandbox->vmm_pid = claim->vmm_pid;
	sandbox->claimed_ns = clock_realtime_ns();
	if (sandbox->state == SANDBOX_UNWANTED) {
		release(sandbox);
		return;
	}
	run_when_ready(sandbox);
}

static void start_claim(struct sandbox *sandbox, const struct settings *settings,
			const char *hostname)
{
	struct claim_options options = {
		.factory_address = settings->factory,
		.sandbox_id = sandbox->other_name ? sandbox->other_name : sandbox->id,
		.template_name = settings->template_name,
		.priority = (enum claim_priority)settings->priority,
		.vcpus = (uint32_t)settings->vcpus,
		.memory_mib = (uint32_t)settings->memory_mib,
		.annotations = settings->annotations,
		.images = &settings->images,
	};
	_cleanup_(error_done) struct error err = {};

	sandbox->claim_again = false;
	error_done(&sandbox->error);
	error_done(&sandbox->acquire_error);
	settings_copy(&sandbox->settings, settings);
	replace_string(&sandbox->hostname, hostname);
	set_state(sandbox, SANDBOX_CLAIMING);
	if (settings->netns || settings->is_netns_new)
		sandbox->network = pod_link_new(&(struct pod_link_options){
			.loop = sandbox->loop,
			.sandbox_id = sandbox->id,
			.netns = settings->netns,
			.model = (enum network_model)settings->internetworking_model,
			.on_done = on_network,
			.userdata = sandbox,
		});
	if (FAULT_ERROR("sandbox.claiming", &err) < 0 ||
	    claim_start(sandbox->loop, &options, on_claimed, sandbox, &err) < 0) {
		set_claim_error(sandbox, &err);
		drop_network(sandbox);
		set_state(sandbox, SANDBOX_NONE);
		settings_done(&sandbox->settings);
		loop_defer(sandbox->loop, tell_acquirers, sandbox);
	}
}

struct sandbox *sandbox_new(const struct sandbox_options *options)
{
	struct sandbox *sandbox = xnew(struct sandbox);

	*sandbox = (struct sandbox){
		.loop = options->loop,
		.id = xstrdup(options->id),
		.ns = xstrdup(options->ns),
		.on_lost = options->on_lost,
		.on_given_up = options->on_given_up,
		.on_oom = options->on_oom,
		.used_ms = options->used_ms,
		.on_over = options->on_over,
		.userdata = options->userdata,
	};
	sandbox->agent = agent_link_new(options->loop, NULL, on_agent_lost, sandbox);
	return sandbox;
}

void sandbox_free(struct sandbox *sandbox)
{
	if (!sandbox)
		return;
	if (sandbox->release)
		sandbox->release->sandbox = NULL;
	if (sandbox->state != SANDBOX_NONE)
		set_state(sandbox, SANDBOX_NONE);
	tell_acquirers(sandbox);
	cancel_joiners(sandbox);
	loop_watch_free(sandbox->death);
	disks_close(sandbox->disks);
	scratch_watch_free(sandbox->scratch);
	health_watch_free(sandbox->health);
	oom_events_free(sandbox->oom);
	lifetime_free(sandbox->lifetime);
	pod_link_free(sandbox->network);
	slots_close(sandbox->slots);
	dax_windows_close(sandbox->windows);
	virtiofs_stop(sandbox->virtiofs);
	lower_folders_free(sandbox->lowers);
	agent_link_set(sandbox->agent, NULL);
	claim_free(sandbox->claim);
	agent_link_free(sandbox->agent);
	settings_done(&sandbox->settings);
	settings_done(&sandbox->wanted);
	error_done(&sandbox->error);
	error_done(&sandbox->acquire_error);
	free(sandbox->wanted_hostname);
	free(sandbox->hostname);
	free(sandbox->other_name);
	free(sandbox->ns);
	free(sandbox->id);
	free(sandbox);
}

void sandbox_prepare(struct sandbox *sandbox, const struct settings *settings, const char *hostname)
{
	sandbox->is_early = true;
	start_claim(sandbox, settings, hostname);
}

/* False where what was prepared is not what is wanted: then it is on its way back, and another
 * claim follows. */
static bool take_early(struct sandbox *sandbox, const struct settings *settings,
		       const char *hostname)
{
	bool was_early = sandbox->is_early;

	sandbox->is_early = false;
	if (!was_early || sandbox->state == SANDBOX_NONE ||
	    (sandbox->state != SANDBOX_RELEASING && sandbox->state != SANDBOX_UNWANTED &&
	     settings_equal(&sandbox->settings, settings) &&
	     str_equal(sandbox->hostname, hostname)))
		return true;
	log_info(sandbox->id, "the machine claimed at the start is not what is wanted now");
	settings_copy(&sandbox->wanted, settings);
	replace_string(&sandbox->wanted_hostname, hostname);
	sandbox->claim_again = true;
	sandbox_release(sandbox, NULL, NULL);
	return false;
}

void sandbox_acquire(struct sandbox *sandbox, const struct settings *settings, const char *hostname,
		     sandbox_fn fn, void *userdata)
{
	waiters_add(&sandbox->acquirers, fn, userdata);
	if (!take_early(sandbox, settings, hostname))
		return;
	if (sandbox->state == SANDBOX_NONE)
		start_claim(sandbox, settings, hostname);
	else if (!is_claiming(sandbox))
		loop_defer(sandbox->loop, tell_acquirers, sandbox);
}

static void on_nothing_to_release(void *userdata)
{
	released(userdata, 0, NULL);
}

void sandbox_release(struct sandbox *sandbox, void (*fn)(void *userdata), void *userdata)
{
	if (fn) {
		sandbox->on_released = fn;
		sandbox->released_userdata = userdata;
	}
	if (sandbox->state == SANDBOX_RUNNING)
		release(sandbox);
	else if (sandbox->state == SANDBOX_CLAIMING)
		set_state(sandbox, SANDBOX_UNWANTED);
	else if (sandbox->state == SANDBOX_NONE && fn)
		loop_defer(sandbox->loop, on_nothing_to_release, sandbox);
}

bool sandbox_is_joining(const struct sandbox *sandbox)
{
	return sandbox->network && pod_link_is_busy(sandbox->network);
}

bool sandbox_is_plugging(const struct sandbox *sandbox)
{
	return sandbox->network && pod_link_is_plugging(sandbox->network);
}

void sandbox_await_network(struct sandbox *sandbox, sandbox_fn fn, void *userdata)
{
	waiters_add(&sandbox->joiners, fn, userdata);
}

bool sandbox_must_settle_network(struct sandbox *sandbox)
{
	return sandbox->state == SANDBOX_RUNNING && sandbox->network &&
	       pod_link_must_settle(sandbox->network);
}

void sandbox_settle_network(struct sandbox *sandbox, sandbox_fn fn, void *userdata)
{
	pod_link_settle(sandbox->network, fn, userdata);
}

const char *sandbox_id(const struct sandbox *sandbox)
{
	return sandbox->id;
}

static void on_virtiofs_end(const struct error *why, void *userdata)
{
	struct sandbox *sandbox = userdata;

	if (!sandbox->error.number)
		(void)error_set(&sandbox->error, why->number, "volumes by virtio-fs: %s",
				error_message(why));
	report_lost(sandbox, GUEST_GONE, error_message(&sandbox->error));
}

int sandbox_serve_volumes(struct sandbox *sandbox, enum virtiofs_locks locks, struct error *err)
{
	const struct claim *claim = sandbox->claim;
	const struct virtiofs_options options = {
		.loop = sandbox->loop,
		.vm_dir = claim->vm_dir,
		.share_dir = claim->share_dir,
		.vmm_pidfd = claim->vmm_pidfd,
		.locks = locks,
		.qmp = slots_monitor(sandbox->slots),
		.on_end = on_virtiofs_end,
		.userdata = sandbox,
	};
	int r = 0;

	if (sandbox->virtiofs && sandbox->virtiofs_locks == locks)
		return 0;
	if (sandbox->virtiofs)
		r = error_set(
			err, EINVAL,
			"another container of the pod has asked for %s locks, and all have the "
			"same (annotation io.kiln.volumes)",
			locks == VIRTIOFS_LOCKS_HOST ? "the guest's" : "the host's");
	else if (!claim->own_memory)
		r = error_set(err, EINVAL,
			      "the machine's memory is shared with its template: name a template "
			      "with \"share\": \"never\" (annotation io.kiln.template), or use 9p");
	else if (!options.qmp)
		r = error_set(err, ENOTCONN, "the machine's monitor is gone");
	else
		r = virtiofs_start(&options, &sandbox->virtiofs, err);
	if (r == 0)
		sandbox->virtiofs_locks = locks;
	return r < 0 ? error_wrap(err, "volumes by virtio-fs") : 0;
}

enum sandbox_state sandbox_state(const struct sandbox *sandbox)
{
	return sandbox->state;
}

struct agent_link *sandbox_agent(const struct sandbox *sandbox)
{
	return sandbox->agent;
}

const struct error *sandbox_error(const struct sandbox *sandbox)
{
	return &sandbox->error;
}

const struct claim *sandbox_claim(const struct sandbox *sandbox)
{
	return sandbox->state == SANDBOX_RUNNING ? sandbox->claim : NULL;
}

uint64_t sandbox_claimed_ns(const struct sandbox *sandbox)
{
	return sandbox->claimed_ns;
}

const char *sandbox_vm_id(const struct sandbox *sandbox)
{
	return sandbox->claim->vm_id;
}

const char *sandbox_vm_dir(const struct sandbox *sandbox)
{
	return sandbox->claim->vm_dir;
}

const char *sandbox_share_dir(const struct sandbox *sandbox)
{
	return sandbox->claim->share_dir;
}

struct large_ids *sandbox_large_ids(struct sandbox *sandbox)
{
	return &sandbox->large_ids;
}

struct lower_folders *sandbox_lower_folders(const struct sandbox *sandbox)
{
	return sandbox->lowers;
}

const char *sandbox_netns(const struct sandbox *sandbox)
{
	return sandbox->network ? pod_link_netns(sandbox->network) : NULL;
}

pid_t sandbox_netns_pid(const struct sandbox *sandbox)
{
	return sandbox->network ? pod_link_pid(sandbox->network) : 0;
}

int sandbox_vmm_pidfd(const struct sandbox *sandbox)
{
	return sandbox->claim->vmm_pidfd;
}

struct dax_windows *sandbox_dax_windows(const struct sandbox *sandbox)
{
	return sandbox->windows;
}

struct slots *sandbox_slots(const struct sandbox *sandbox)
{
	return sandbox->slots;
}

struct disks *sandbox_disks(const struct sandbox *sandbox)
{
	return sandbox->disks;
}

const char *sandbox_image_cache(const struct sandbox *sandbox)
{
	return sandbox->claim->image_cache;
}

const char *sandbox_image_device(const struct sandbox *sandbox, const char *name)
{
	return claim_image_device(sandbox->claim, name);
}

pid_t sandbox_vmm_pid(const struct sandbox *sandbox)
{
	return sandbox->vmm_pid;
}
