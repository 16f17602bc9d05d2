/* After a restart of the factory: what an earlier one left is taken up again.
 *
 *   parked     monitor and agent connected, must be paused, woken once to see the agent answer,
 *              stopped again: PARKED. In memory it is WARMING meanwhile; the journal goes on
 *              saying parked, and a factory that dies here leaves a machine that is not paused.
 *   claimed    CLAIMED; its end and its lease are watched. One that was never confirmed is
 *              kept only if somebody holds the agent's channel: then the claimer got it, and
 *              the confirmation was lost with the factory.
 *   half-made  by a claimer for itself (no factory was there), which lives: CLAIMED, and the
 *              journal is that claimer's to write
 *   the rest   ended
 *
 * Not to know whether a process lives is not to know that it is gone. Where it cannot be looked at,
 * for lack of descriptors say, that is tried again: meanwhile a claimed machine stays CLAIMED, and
 * any other is on its way to GONE, which it comes to when its process can be ended. */
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/pidfd.h"
#include "base/socket.h"
#include "factory/vm/host.h"
#include "factory/vm/vm_priv.h"

enum {
	PROBE_DEADLINE_MS = 30 * 1000,
	PROBE_ANSWER_MS = 20 * 1000,
	AGAIN_MS = 1000,
};

/* ---- a parked one */

static void on_stopped_again(int number, json_t *result _unused_, const struct error *err,
			     void *userdata)
{
	struct vm *vm = userdata;
	if (!vm_take_answer(vm, number, err, "stopping the vCPUs"))
		return;
	vm_wait_done(vm);
	vm_set_state(vm, VM_PARKED);
}

static void on_probed(struct warm *warm _unused_, int number, const struct error *err,
		      void *userdata)
{
	struct vm *vm = userdata;
	if (vm_take_warm_answer(vm, number, err))
		qmp_command(vm->qmp, "stop", NULL, 0, on_stopped_again, vm);
}

static void on_awake(int number, json_t *result _unused_, const struct error *err, void *userdata)
{
	struct vm *vm = userdata;
	if (!vm_take_answer(vm, number, err, "starting the vCPUs"))
		return;
	vm->warm = warm_start(&(struct warm_options){
		.purpose = WARM_PROBE,
		.loop = vm->options.loop,
		.agent = vm->agent,
		.object = vm->entry.id,
		.patience = vm->patience,
		.first_timeout_ms = PROBE_ANSWER_MS,
		.on_done = on_probed,
		.userdata = vm,
	});
}

static void on_status(int number, json_t *result, const struct error *err, void *userdata)
{
	struct vm *vm = userdata;
	if (!vm_take_answer(vm, number, err, "asking for the machine's status"))
		return;
	const char *status = json_string_value(json_object_get(result, "status"));
	if (!str_equal(status, "paused")) {
		_cleanup_(error_done) struct error why = {};
		error_set(&why, EBADMSG, "the journal says parked, QEMU does not say paused");
		vm_fail(vm, &why);
		return;
	}
	qmp_command(vm->qmp, "cont", NULL, 0, on_awake, vm);
}

static int adopt_parked(struct vm *vm, struct error *err)
{
	vm->entry.state = VM_WARMING;
	int r = vm_connect_monitor(vm, err);
	if (r == 0)
		r = vm_connect_agent(vm, err);
	if (r < 0)
		return r;
	qmp_command(vm->qmp, "query-status", NULL, 0, on_status, vm);
	vm_wait(vm, PROBE_DEADLINE_MS, "answer to the probe of an adopted machine");
	return 0;
}

/* ---- a claimed one that was not confirmed */

/* A socket chardev's "filename" names the bound path while somebody is connected, and begins
 * with "disconnected:" while nobody is. */
static bool agent_channel_is_held(json_t *chardevs)
{
	size_t i;
	json_t *chardev;
	json_array_foreach (chardevs, i, chardev) {
		const char *name = json_string_value(json_object_get(chardev, "filename"));
		if (name && strstr(name, "/agent.sock") && !str_after(name, "disconnected:"))
			return true;
	}
	return false;
}

static void on_chardevs(int number, json_t *result, const struct error *err, void *userdata)
{
	struct vm *vm = userdata;
	if (!vm_take_answer(vm, number, err, "asking for the machine's channels"))
		return;
	vm_wait_done(vm);
	if (agent_channel_is_held(result)) {
		log_info(vm->entry.id, "its claimer has it: confirmed");
		vm_confirm(vm);
		return;
	}
	_cleanup_(error_done) struct error why = {};
	error_set(&why, ECANCELED, "the claimer never got it");
	vm_fail(vm, &why);
}

static int adopt_unconfirmed(struct vm *vm, struct error *err)
{
	int r = vm_connect_monitor(vm, err);
	if (r < 0)
		return r;
	qmp_command(vm->qmp, "query-chardev", NULL, 0, on_chardevs, vm);
	vm_wait(vm, PROBE_DEADLINE_MS, "answer to the probe of an adopted machine");
	return 0;
}

/* ---- all */

static int open_process(const struct vm *vm, int *ret_pidfd)
{
	const struct journal_entry *entry = &vm->entry;
	if (entry->pid > 0)
		return process_open(entry->pid, entry->start_time, ret_pidfd);
	return host_find_process(vm->options.jail.jailer, vm->run_dir, entry, ret_pidfd);
}

static int adopt_by_state(struct vm *vm, struct error *err)
{
	if (vm->entry.state == VM_CLAIMED)
		return vm->entry.confirmed ? 0 : adopt_unconfirmed(vm, err);
	if (vm->entry.claimer_pid > 0)
		return error_set(err, ECANCELED, "its claimer (pid %d) died while making it",
				 (int)vm->entry.claimer_pid);
	if (vm->entry.state != VM_PARKED)
		return error_set(err, ECANCELED, "it was %s when the factory died",
				 vm_state_to_string(vm->entry.state));
	if (vm->entry.booted)
		return error_set(err, ECANCELED, "it was booted for a claim that is over");
	if (!vm->of_template)
		return error_set(err, ECANCELED, "its template does not exist any more");
	return adopt_parked(vm, err);
}

/* Between its journal entry and its process a machine of a claimer's own cannot be watched. */
static bool is_being_made(const struct journal_entry *entry)
{
	_cleanup_close_ int pidfd = -EBADF;
	return entry->state < VM_CLAIMED && entry->claimer_pid > 0 &&
	       process_open(entry->claimer_pid, entry->claimer_start, &pidfd) != -ESRCH;
}

/* Without it what QEMU says is dropped, and the machine works. */
static void go_on_with_log(struct vm *vm)
{
	_cleanup_(error_done) struct error err = {};
	if (vm_read_log(vm, &err) < 0)
		log_warning(vm->entry.id, "what its QEMU says is lost: %s", error_message(&err));
}

static int see_process(struct vm *vm, struct error *err)
{
	int pidfd;
	int r = open_process(vm, &pidfd);
	if (r < 0)
		return error_set_errno(err, r, "its process %d %s", (int)vm->entry.pid,
				       r == -ESRCH ? "is gone" : "cannot be looked at");
	vm_watch_process(vm, pidfd);
	go_on_with_log(vm);
	return 0;
}

static bool is_shortage(int number)
{
	return number == -EMFILE || number == -ENFILE || number == -ENOMEM || number == -ENOBUFS;
}

static void take_up(void *userdata);

static void take_up_again(struct vm *vm, const struct error *why)
{
	if (!vm->adopt_again) {
		log_warning(vm->entry.id, "it cannot be taken up yet: %s", error_message(why));
		vm->adopt_again = loop_timer_new(vm->options.loop, take_up, vm);
	}
	loop_timer_start(vm->adopt_again, AGAIN_MS);
}

static void take_up(void *userdata)
{
	_cleanup_(error_done) struct error why = {};
	struct vm *vm = userdata;
	int r = vm->pidfd < 0 ? see_process(vm, &why) : 0;
	if (r == 0 && !vm->dying)
		r = adopt_by_state(vm, &why);
	if (r < 0 && (vm->pidfd < 0 ? r != -ESRCH : is_shortage(r))) {
		take_up_again(vm, &why);
		if (vm->entry.state != VM_CLAIMED)
			vm_fail(vm, &why);
		return;
	}
	loop_timer_free(steal_ptr(vm->adopt_again));
	if (vm->dying)
		vm_end_process(vm);
	else if (r < 0)
		vm_fail(vm, &why);
}

int vm_adopt(const struct vm_options *options, const struct journal_entry *entry,
	     struct vm **ret_vm, struct error *err)
{
	if (!id_is_valid(entry->id) || entry->state == VM_GONE)
		return error_set(err, EINVAL, "a journal entry that describes no machine");
	bool being_made = is_being_made(entry);
	if (being_made && entry->pid == 0)
		return error_set(err, EBUSY, "its claimer (pid %d) is still making it",
				 (int)entry->claimer_pid);
	const struct template_manifest *manifest = options->manifest;
	struct vm *vm = vm_new(options, entry);
	vm->of_template = manifest && str_equal(manifest->id, entry->template_id);
	if (being_made) {
		vm->entry.state = VM_CLAIMED;
		vm->entry.confirmed = true;
	}
	take_up(vm);
	if (vm->entry.state == VM_CLAIMED)
		vm_lease_watch(vm);
	*ret_vm = vm;
	return 0;
}
