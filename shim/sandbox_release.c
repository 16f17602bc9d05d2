/* The machine's way back, and what follows it. */
#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "shim/guest_trace.h"
#include "shim/pod_cgroup.h"
#include "shim/sandbox_priv.h"

void sandbox_released(struct sandbox *sandbox, int number, const struct error *err)
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
		sandbox_set_state(sandbox, SANDBOX_NONE);
	if (fn || !sandbox->claim_again) {
		trace_root_end(sandbox->lost ? "the machine has ended by itself" : NULL);
		sandbox_tell_acquirers(sandbox); /* of a release while it was being claimed */
	}
	if (fn)
		fn(sandbox->released_userdata);
	else if (sandbox->claim_again && !waiters_empty(&sandbox->acquirers))
		sandbox_start_claim(sandbox, &sandbox->wanted, sandbox->wanted_hostname);
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
	sandbox_released(sandbox, number, err);
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

void sandbox_drop_network(struct sandbox *sandbox)
{
	if (sandbox->network)
		loop_defer(sandbox->loop, free_network, steal_ptr(sandbox->network));
}

static void on_network_left(void *userdata)
{
	struct sandbox *sandbox = userdata;

	sandbox_drop_network(sandbox);
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

void sandbox_begin_release(struct sandbox *sandbox)
{
	sandbox_set_state(sandbox, SANDBOX_RELEASING);
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

void sandbox_release(struct sandbox *sandbox, void (*fn)(void *userdata), void *userdata)
{
	if (sandbox->state == SANDBOX_NONE) {
		trace_root_end(NULL);
		if (fn) /* it may be acquired meanwhile, which is another machine's matter */
			loop_defer(sandbox->loop, fn, userdata);
		return;
	}
	if (fn) {
		sandbox->on_released = fn;
		sandbox->released_userdata = userdata;
	}
	if (sandbox->state == SANDBOX_RUNNING)
		sandbox_begin_release(sandbox);
	else if (sandbox->state == SANDBOX_CLAIMING)
		sandbox_set_state(sandbox, SANDBOX_UNWANTED);
}
