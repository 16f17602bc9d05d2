#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "shim/sandbox_priv.h"

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

void sandbox_set_state(struct sandbox *sandbox, enum sandbox_state state)
{
	state_change(&sandbox_states, sandbox->id, sandbox->state, state);
	sandbox->state = state;
}

/* Why there is no machine stays known until another one is claimed: containerd 2.x asks once more,
 * by version 2, where the first answer was UNIMPLEMENTED. */
void sandbox_tell_acquirers(void *userdata)
{
	struct sandbox *sandbox = userdata;
	_cleanup_(error_done) struct error err = {};

	if (sandbox_is_claiming(sandbox))
		return; /* asked again since; they are told then */
	if (sandbox->acquire_error.number)
		(void)error_set(&err, sandbox->acquire_error.number, "%s",
				error_message(&sandbox->acquire_error));
	else if (sandbox->state != SANDBOX_RUNNING)
		(void)error_set(&err, ECANCELED, "the sandbox is being released");
	waiters_answer(&sandbox->acquirers, -err.number, &err);
}

void sandbox_report_lost(struct sandbox *sandbox, enum guest_loss loss, const char *why)
{
	if (sandbox->state != SANDBOX_RUNNING)
		return;
	log_error(sandbox->id, "the sandbox is lost: %s", why);
	sandbox->lost = true;
	sandbox->on_lost(loss, sandbox->userdata);
}

static void on_agent_lost(enum guest_loss loss, void *userdata)
{
	sandbox_report_lost(userdata, loss,
			    loss == GUEST_SILENT ? "its guest does not answer: the machine is ended"
						 : "its agent has ended");
}

static void cancel_joiners(struct sandbox *sandbox)
{
	_cleanup_(error_done) struct error err = {};

	(void)error_set(&err, ECANCELED, "the sandbox is being released");
	waiters_answer(&sandbox->joiners, -err.number, &err);
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
		sandbox_set_state(sandbox, SANDBOX_NONE);
	sandbox_tell_acquirers(sandbox);
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
	sandbox_report_lost(sandbox, GUEST_GONE, error_message(&sandbox->error));
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
