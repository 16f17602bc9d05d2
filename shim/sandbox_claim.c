/* From the claim of a machine until its guest has the sandbox. */
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "factory/guest/guest_root.h"
#include "factory/guest/guest_share.h"
#include "proto/agent.pb-c.h"
#include "shim/guest_trace.h"
#include "shim/pod_cgroup.h"
#include "shim/sandbox_priv.h"
#include "shim/spec.h"

#define CREATE_TIMEOUT_MS 30000

static void on_vmm_death(int fd _unused_, unsigned events _unused_, void *userdata)
{
	struct sandbox *sandbox = userdata;

	loop_watch_set(sandbox->death, 0);
	sandbox_report_lost(sandbox, GUEST_GONE, "its VMM has ended");
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
	sandbox->oom = oom_events_new(sandbox->loop, sandbox->agent, sandbox->on_oom,
				      sandbox->userdata);
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

/* To containerd "not found" is a task, so a missing factory or template is "unavailable". */
static void set_claim_error(struct sandbox *sandbox, const struct error *err)
{
	(void)error_set(&sandbox->acquire_error, err->number == ENOENT ? ECONNREFUSED : err->number,
			"%s", error_message(err));
}

static void claim_failed(struct sandbox *sandbox, const struct error *err)
{
	set_claim_error(sandbox, err);
	sandbox_drop_network(sandbox);
	sandbox_set_state(sandbox, SANDBOX_RELEASING);
	sandbox_tell_acquirers(sandbox);
	sandbox_released(sandbox, 0, NULL);
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
	sandbox_drop_network(sandbox);
	sandbox_set_state(sandbox, SANDBOX_RELEASING);
	sandbox_released(sandbox, 0, NULL);
}

/* The machine takes calls from here on. */
static void run(struct sandbox *sandbox)
{
	const struct claim *claim = sandbox->claim;

	sandbox_set_state(sandbox, SANDBOX_RUNNING);
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
	sandbox_tell_acquirers(sandbox);
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
		sandbox_begin_release(sandbox);
		sandbox_tell_acquirers(sandbox);
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
		sandbox_begin_release(sandbox); /* it has waited for this alone */
		return;
	}
	if (number < 0 && sandbox->state == SANDBOX_RUNNING && !sandbox->error.number)
		(void)error_set(&sandbox->error, number, "the pod's network: %s",
				error_message(err));
	waiters_answer(&sandbox->joiners, number, sandbox->error.number ? &sandbox->error : err);
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
		sandbox_begin_release(sandbox);
		return;
	}
	run_when_ready(sandbox);
}

void sandbox_start_claim(struct sandbox *sandbox, const struct settings *settings,
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
	sandbox_set_state(sandbox, SANDBOX_CLAIMING);
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
		sandbox_drop_network(sandbox);
		sandbox_set_state(sandbox, SANDBOX_NONE);
		settings_done(&sandbox->settings);
		loop_defer(sandbox->loop, sandbox_tell_acquirers, sandbox);
	}
}

void sandbox_prepare(struct sandbox *sandbox, const struct settings *settings, const char *hostname)
{
	sandbox->is_early = true;
	sandbox_start_claim(sandbox, settings, hostname);
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
		sandbox_start_claim(sandbox, settings, hostname);
	else if (!sandbox_is_claiming(sandbox))
		loop_defer(sandbox->loop, sandbox_tell_acquirers, sandbox);
}
