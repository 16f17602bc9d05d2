/* A machine, from nothing to PARKED:
 *
 *   vm_start              journal, user ids
 *   on_copied             where it has its own copy of the template's files: they are made
 *   clone_launch          QEMU in its jail (factory/vm/launch.h), first commands queued
 *   vm_clone_on_event     state loaded
 *   guest_resume          RESTORED, cont
 *   on_running            WARMING, warm_start(); of a booted one the first thing
 *   on_warm               stop
 *   on_stopped            PARKED
 *
 * A spare comes up in a WARMING of its own, and rests until vm_use_spare():
 *
 *   on_up                 stop
 *   on_spare_stopped      SPARE; then guest_resume as above */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/id.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/pidfd.h"
#include "factory/base/layout.h"
#include "factory/jail/uid_range.h"
#include "factory/vm/host.h"
#include "factory/vm/launch.h"
#include "factory/vm/vm_priv.h"

/* Generous: ten clones may share two slow cores. A host that needed longer for the bake has longer
 * here as well (template_patience()). */
enum {
	RESTORE_DEADLINE_MS = 40 * 1000, /* process start, monitor, loading of the state */
	WARM_DEADLINE_MS = 60 * 1000,
	BOOT_DEADLINE_MS = 120 * 1000, /* process start to the agent's first answer */
	STOP_DEADLINE_MS = 20 * 1000,
	COPY_DEADLINE_MS = 120 * 1000,
};

/* ---- the sequence after the process runs */

static void guest_resume(struct vm *vm);
static void guest_warm(struct vm *vm);

static void guest_stop(struct vm *vm, qmp_reply_fn on_reply)
{
	vm_wait(vm, STOP_DEADLINE_MS, "stop of the vCPUs");
	qmp_command(vm->qmp, "stop", NULL, 0, on_reply, vm);
}

static void on_stopped(int number, json_t *result _unused_, const struct error *err, void *userdata)
{
	struct vm *vm = userdata;
	if (!vm_take_answer(vm, number, err, "stopping the vCPUs"))
		return;
	vm_wait_done(vm);
	log_debug(vm->entry.id, "parked %llu ms after its start",
		  (unsigned long long)(clock_monotonic_ns() - vm->spawned_ns) / 1000000);
	FAULT_POINT("clone.stopped");
	vm_set_state(vm, VM_PARKED);
	FAULT_POINT("clone.parked");
}

static void on_warm(struct warm *warm _unused_, int number, const struct error *err, void *userdata)
{
	struct vm *vm = userdata;
	if (!vm_take_warm_answer(vm, number, err))
		return;
	FAULT_POINT("clone.warm");
	guest_stop(vm, on_stopped);
}

static void on_spare_stopped(int number, json_t *result _unused_, const struct error *err,
			     void *userdata)
{
	struct vm *vm = userdata;
	if (!vm_take_answer(vm, number, err, "stopping the vCPUs of a spare"))
		return;
	if (!vm->spare) {
		guest_resume(vm);
		return;
	}
	vm_wait_done(vm);
	vm_set_state(vm, VM_SPARE);
}

static void on_up(struct warm *warm _unused_, int number, const struct error *err, void *userdata)
{
	struct vm *vm = userdata;
	if (!vm_take_warm_answer(vm, number, err))
		return;
	if (vm->spare)
		guest_stop(vm, on_spare_stopped);
	else
		guest_warm(vm);
}

/* A guest that still boots answers as soon as it is up. */
static void guest_warm(struct vm *vm)
{
	unsigned boot_ms = vm->booting ? BOOT_DEADLINE_MS : 0;
	vm_wait(vm, boot_ms + WARM_DEADLINE_MS, "end of warming");
	vm->warm = warm_start(&(struct warm_options){
		.purpose = vm->spare ? WARM_SPARE : WARM_CLONE,
		.loop = vm->options.loop,
		.agent = vm->agent,
		.object = vm->entry.id,
		.share_dir = vm->share_dir,
		.jailer = vm->options.jail.jailer,
		.image = rehearsal_image_of(vm->dax_windows, vm->block_slots),
		.network_cards = vm->network_cards,
		.patience = vm->patience,
		.first_timeout_ms = boot_ms,
		.on_done = vm->spare ? on_up : on_warm,
		.userdata = vm,
	});
}

static void warm_begin(struct vm *vm)
{
	if (vm->dying || vm->lost)
		return;
	guest_warm(vm);
	vm_set_state(vm, VM_WARMING);
	FAULT_POINT("clone.warming");
}

static void on_running(int number, json_t *result _unused_, const struct error *err, void *userdata)
{
	struct vm *vm = userdata;
	if (vm_take_answer(vm, number, err, "starting the vCPUs"))
		warm_begin(vm);
}

static void guest_resume(struct vm *vm)
{
	vm_wait(vm, WARM_DEADLINE_MS, "start of the vCPUs");
	qmp_command(vm->qmp, "cont", NULL, 0, on_running, vm);
	vm_set_state(vm, VM_RESTORED);
	FAULT_POINT("clone.restored");
}

void vm_use_spare(struct vm *vm)
{
	if (!vm->spare)
		abort();
	vm->spare = false;
	vm->spawned_ns = clock_monotonic_ns();
	if (vm->entry.state == VM_SPARE && !vm->dying && !vm->lost)
		guest_resume(vm);
}

void vm_clone_on_event(struct vm *vm, const char *event, json_t *data)
{
	if (vm->dying || vm->entry.state != VM_SPAWNED || !str_equal(event, "MIGRATION"))
		return;
	const char *status = json_string_value(json_object_get(data, "status"));
	if (str_equal(status, "completed")) {
		guest_resume(vm);
	} else if (str_equal(status, "failed")) {
		/* QEMU says why on stderr, and ends. */
		_cleanup_(error_done) struct error err = {};
		error_set(&err, ENOTCONN, "QEMU cannot load the template's state");
		vm_fail(vm, &err);
	}
}

static void on_restore_command(int number, json_t *result _unused_, const struct error *err,
			       void *userdata)
{
	vm_take_answer(userdata, number, err, "loading the template's state");
}

/* Given all at once: QEMU answers commands in order, and each failure is a failure of the
 * restore. The end of it is an event. */
static void restore_begin(struct vm *vm)
{
	json_t *capabilities = json_pack("{s:[{s:s, s:b}, {s:s, s:b}]}", "capabilities",
					 "capability", "x-ignore-shared", "state", 1, "capability",
					 "events", "state", 1);
	int fd = steal_fd(&vm->state_fd);
	qmp_command(vm->qmp, "migrate-set-capabilities", capabilities, 0, on_restore_command, vm);
	qmp_command_fds(vm->qmp, "getfd", json_pack("{s:s}", "fdname", "state"), &fd, 1, 0,
			on_restore_command, vm);
	qmp_command(vm->qmp, "migrate-incoming", json_pack("{s:s}", "uri", "fd:state"), 0,
		    on_restore_command, vm);
	vm_wait(vm, RESTORE_DEADLINE_MS, "start of QEMU and loading of the template's state");
}

/* ---- before */

/* A range that is free: the journal has it before it is taken. */
static int take_uids(struct vm *vm, struct error *err)
{
	int r = -EEXIST;
	for (unsigned n = 0; r == -EEXIST && n < UID_RANGES; n++) {
		vm->entry.uid = uid_range_nth(vm->options.jail.first_uid, vm->entry.id, n);
		r = journal_write(vm->run_dir, &vm->entry, err);
		if (r == 0)
			r = FAULT_ERROR("clone.journaled", err);
		if (r == 0)
			r = host_take_uids(vm->options.jail.jailer, vm->run_dir, &vm->entry, err);
	}
	return r;
}

static int note_process(struct vm *vm, const struct launched *launched, struct error *err)
{
	vm->entry.pid = launched->pid;
	vm->entry.start_time = launched->start_time;
	vm->entry.guest_cid = launched->guest_cid;
	vm_watch_process(vm, launched->pidfd);
	int r = journal_write(vm->run_dir, &vm->entry, err);
	return r < 0 ? r : FAULT_ERROR("clone.started", err);
}

static int clone_launch(struct vm *vm, struct error *err)
{
	struct launched launched;
	int r = launch_run(vm->launch, &launched, err);
	launch_free(steal_ptr(vm->launch));
	if (r == 0)
		r = note_process(vm, &launched, err);
	if (r == 0)
		r = vm_read_log(vm, err);
	if (r == 0)
		r = vm_connect_monitor(vm, err);
	if (r == 0)
		r = vm_connect_agent(vm, err);
	if (r == -ECONNREFUSED) { /* QEMU has ended already; what it said is why */
		vm_fail(vm, err);
		return 0;
	}
	if (r < 0)
		return r;
	if (vm->booting)
		vm_defer(vm, warm_begin);
	else
		restore_begin(vm);
	return 0;
}

static void copy_free(void *userdata)
{
	clone_copy_free(userdata);
}

static void wrap_start(const struct vm *vm, struct error *err)
{
	error_wrap(err, "cannot %s template %s", vm->booting ? "boot" : "clone",
		   vm->entry.template_name);
}

static void on_copied(int number, const struct error *why, void *userdata)
{
	struct vm *vm = userdata;
	_cleanup_(error_done) struct error err = {};
	loop_defer(vm->options.loop, copy_free, steal_ptr(vm->copy));
	if (!vm_take_answer(vm, number, why, NULL))
		return;
	vm_wait_done(vm);
	if (clone_launch(vm, &err) == 0)
		return;
	wrap_start(vm, &err);
	vm_fail(vm, &err);
}

static int open_state(struct vm *vm, const struct template_manifest *manifest, struct error *err)
{
	_cleanup_free_ char *state = path_join(manifest->dir, "state");
	if (vm->booting)
		return 0;
	vm->state_fd = open(state, O_RDONLY | O_CLOEXEC);
	return vm->state_fd < 0
		       ? error_set_errno(err, errno, "cannot open the template's state %s", state)
		       : 0;
}

static int clone_start(struct vm *vm, const struct vm_options *options, struct error *err)
{
	int r = options->jail.first_uid > 0 ? take_uids(vm, err)
					    : journal_write(vm->run_dir, &vm->entry, err);
	if (r == 0)
		r = open_state(vm, options->manifest, err);
	if (r == 0)
		r = launch_new(&(struct launch_options){ .run_dir = vm->run_dir,
							 .id = vm->entry.id,
							 .manifest = options->manifest,
							 .scratch_dir = options->scratch_dir,
							 .jail = options->jail,
							 .uid = vm->entry.uid,
							 .cgroup = vm->entry.cgroup,
							 .boot = options->boot,
							 .merge_pages = options->merge_pages },
			       &vm->launch, err);
	if (r < 0 || !launch_files(vm->launch)->has_copies)
		return r < 0 ? r : clone_launch(vm, err);
	r = clone_copy_start(vm->options.loop, launch_files(vm->launch), on_copied, vm, &vm->copy,
			     err);
	if (r == 0)
		vm_wait(vm, COPY_DEADLINE_MS, "copy of the template's files");
	return r;
}

/* What a failed start has made so far goes with it; false: not at once. */
static bool clone_undo(struct vm *vm)
{
	_cleanup_(error_done) struct error err = {};
	int status;
	vm->dying = true;
	if (vm->pidfd >= 0) {
		if (host_kill(vm->options.jail.jailer, vm->pidfd, &err) < 0 ||
		    pidfd_wait(vm->pidfd, &err) < 0)
			log_error(vm->entry.id, "%s", error_message(&err));
		(void)host_reap(vm->options.jail.jailer, vm->pidfd, &status);
	}
	return vm_clear(vm);
}

static int entry_is_ours(struct journal_entry *entry, const char *sandbox_id, struct error *err)
{
	entry->sandbox_id = (char *)sandbox_id;
	entry->claimer_pid = getpid();
	int r = process_start_time(entry->claimer_pid, &entry->claimer_start);
	return r < 0 ? error_set_errno(err, r, "cannot read our own start time") : 0;
}

int vm_start(const struct vm_options *options, struct vm **ret_vm, struct error *err)
{
	char id[ID_HEX_SIZE];
	id_random_hex(id);
	struct journal_entry entry = {
		.id = id,
		.template_id = (char *)options->manifest->id,
		.template_name = options->manifest->name,
		.state = VM_SPAWNED,
		.booted = options->boot != NULL,
		.spawned_at = clock_realtime_ns() / 1000000000,
	};
	_cleanup_free_ char *cgroup = options->jail.first_uid > 0 && options->jail.cgroup
					      ? xasprintf("%s/%s", options->jail.cgroup, id)
					      : NULL;
	entry.cgroup = cgroup;
	int r = options->sandbox_id ? entry_is_ours(&entry, options->sandbox_id, err) : 0;
	if (r < 0)
		return r;
	struct vm *vm = vm_new(options, &entry);
	r = clone_start(vm, options, &vm->why);
	if (r < 0)
		wrap_start(vm, &vm->why);
	if (r < 0 && clone_undo(vm)) {
		error_move(err, &vm->why);
		vm_free(vm);
		return r;
	}
	*ret_vm = vm;
	return 0;
}
