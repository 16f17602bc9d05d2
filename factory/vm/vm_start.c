/* A machine, from nothing to PARKED:
 *
 *   vm_start              journal, user ids, folder, listening sockets, control group, jail
 *   on_copied             where it has its own copy of the template's files: they are made
 *   clone_launch          QEMU in its jail, first commands queued
 *   vm_clone_on_event     state loaded
 *   guest_resume          RESTORED, cont
 *   on_running            WARMING, warm_start(); of a booted one the first thing
 *   on_warm               stop
 *   on_stopped            PARKED
 *
 * A spare comes up in a WARMING of its own, and rests until vm_use_spare():
 *
 *   on_up                 stop
 *   on_spare_stopped      SPARE; then guest_resume as above
 *
 * The sockets are bound and listening before QEMU starts and are given to it as descriptors,
 * so that connecting to them never waits and never races with its start. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/id.h"
#include "base/log.h"
#include "base/log_pipe.h"
#include "base/memory.h"
#include "base/pidfd.h"
#include "base/socket.h"
#include "base/spawn.h"
#include "factory/base/layout.h"
#include "factory/guest/dax_window.h"
#include "factory/guest/guest_share.h"
#include "factory/jail/cgroup.h"
#include "factory/jail/jail.h"
#include "factory/jail/uid_range.h"
#include "factory/vm/argv.h"
#include "factory/vm/remains.h"
#include "factory/vm/vm_priv.h"

/* Generous: ten clones may share two slow cores. */
enum {
	RESTORE_DEADLINE_MS = 40 * 1000, /* process start, monitor, loading of the state */
	WARM_DEADLINE_MS = 60 * 1000,
	BOOT_DEADLINE_MS = 120 * 1000, /* process start to the agent's first answer */
	STOP_DEADLINE_MS = 20 * 1000,
	COPY_DEADLINE_MS = 120 * 1000,
};

enum { THREADS_MAX = 256 }; /* of a VMM beside its vCPUs: virtio-9p's requests have up to 64 */

/* The sockets QEMU serves (the last by the library it is started with), and which descriptor each
 * is there. */
enum { SOCKET_AGENT, SOCKET_QMP, SOCKET_SHIM, SOCKET_DAX, SOCKETS };
static const struct {
	const char *name;
	const char *child_fd;
} sockets[SOCKETS] = {
	[SOCKET_AGENT] = { "agent.sock", "3" },
	[SOCKET_QMP] = { "qmp.sock", "4" },
	[SOCKET_SHIM] = { "shim.sock", "5" },
	[SOCKET_DAX] = { DAX_WINDOW_SOCKET, "6" },
};

enum {
	FIRST_COPY_FD = 3 + SOCKETS, /* in QEMU: factory/vm/clone_files.h */
	FIRST_TAP_FD = FIRST_COPY_FD + CLONE_FILES_MAX,
};

/* What is held until the child has it. */
struct launch {
	struct clone_files files;
	int state;
	int log;
	int sockets[SOCKETS];
	struct taps taps;
	struct strv argv;
	struct jail *jail; /* NULL: none */
};

static struct launch *launch_new(void)
{
	struct launch *launch = xnew(struct launch);

	launch->state = launch->log = -EBADF;
	for (size_t i = 0; i < SOCKETS; i++)
		launch->sockets[i] = -EBADF;
	return launch;
}

void vm_launch_free(struct launch *launch)
{
	if (!launch)
		return;
	clone_files_done(&launch->files);
	launch->state = close_fd(launch->state);
	launch->log = close_fd(launch->log);
	for (size_t i = 0; i < SOCKETS; i++)
		launch->sockets[i] = close_fd(launch->sockets[i]);
	taps_done(&launch->taps);
	strv_done(&launch->argv);
	if (launch->jail)
		jail_free(steal_ptr(launch->jail));
	free(launch);
}

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
		.image = rehearsal_image_of(vm->dax_windows, vm->block_slots),
		.network_cards = vm->network_cards,
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
static void restore_begin(struct vm *vm, struct launch *launch)
{
	json_t *capabilities = json_pack("{s:[{s:s, s:b}, {s:s, s:b}]}", "capabilities",
					 "capability", "x-ignore-shared", "state", 1, "capability",
					 "events", "state", 1);
	int fd = steal_fd(&launch->state);
	qmp_command(vm->qmp, "migrate-set-capabilities", capabilities, 0, on_restore_command, vm);
	qmp_command_fds(vm->qmp, "getfd", json_pack("{s:s}", "fdname", "state"), &fd, 1, 0,
			on_restore_command, vm);
	qmp_command(vm->qmp, "migrate-incoming", json_pack("{s:s}", "uri", "fd:state"), 0,
		    on_restore_command, vm);
	vm_wait(vm, RESTORE_DEADLINE_MS, "start of QEMU and loading of the template's state");
}

/* ---- before */

static int make_folders(struct vm *vm, struct error *err)
{
	int r = dir_make(vm->dir, 0700, err);
	_cleanup_free_ char *lower = path_join(vm->share_dir, GUEST_LOWER_DIR);
	if (r == 0)
		r = dir_make(lower, 0755, err);
	if (r == 0 && vm->entry.uid > 0)
		r = jail_share_make(vm->share_dir, err);
	return r;
}

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
			r = uid_range_take(vm->run_dir, vm->entry.uid, vm->entry.id, err);
	}
	return r;
}

/* What QEMU may use beyond the guest's RAM; TCG keeps up to 1 GiB of translated code. Files the
 * guest reads and writes through the share count as well, but such pages can be dropped. */
static struct cgroup_limits limits_of(const struct vm *vm, const struct template_manifest *manifest)
{
	uint64_t overhead_mib = manifest->accelerator == ACCELERATOR_TCG ? 1024 + 256 : 256;
	return (struct cgroup_limits){
		.memory_bytes = ((uint64_t)vm->max_size.memory_mib + overhead_mib) << 20,
		.threads = THREADS_MAX + vm->max_size.vcpus,
		.vcpus = vm->size.vcpus, /* more when it grows: claim_grow() */
	};
}

/* NULL: the option is not there, as in a clone's vector. */
static const char *option_value(const struct strv *argv, const char *option)
{
	for (size_t i = 0; i + 1 < argv->count; i++) {
		if (str_equal(argv->items[i], option))
			return argv->items[i + 1];
	}
	return NULL;
}

static int prepare_jail(struct vm *vm, const struct template_manifest *manifest,
			struct launch *launch, struct error *err)
{
	struct cgroup_limits limits = limits_of(vm, manifest);
	bool copied = launch->files.copied;
	int r = vm->entry.cgroup ? cgroup_make(vm->entry.cgroup, &limits, err) : 0;
	if (r == 0)
		r = FAULT_ERROR("clone.cgroup", err);
	if (r < 0 || vm->entry.uid == 0)
		return r;
	return jail_new(
		&(struct jail_options){
			.dir = vm->dir,
			.share_dir = vm->share_dir,
			.template_dir = copied ? NULL : manifest->dir,
			.memory = copied || vm->booting ? NULL : manifest->memory,
			.dax_dir = manifest->dax_windows > 0 ? manifest->dir : NULL,
			.dax_socket = sockets[SOCKET_DAX].child_fd,
			.qemu_binary = launch->argv.items[0],
			.kernel = option_value(&launch->argv, "-kernel"),
			.initrd = option_value(&launch->argv, "-initrd"),
			.cgroup = vm->entry.cgroup,
			.taps = &launch->taps,
			.uid = vm->entry.uid,
			.kvm = manifest->accelerator == ACCELERATOR_KVM,
		},
		&launch->jail, err);
}

static int open_sockets(struct vm *vm, struct launch *launch, struct error *err)
{
	for (size_t i = 0; i < SOCKETS; i++) {
		_cleanup_free_ char *path = path_join(vm->dir, sockets[i].name);
		int r = socket_listen_unix(path, 0600, &launch->sockets[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int open_files(struct vm *vm, const char *state, struct launch *launch, struct error *err)
{
	_cleanup_free_ char *log = path_join(vm->dir, VM_LOG);
	launch->state = vm->booting ? -EBADF : open(state, O_RDONLY | O_CLOEXEC);
	if (launch->state < 0 && !vm->booting)
		return error_set_errno(err, errno, "cannot open the template's state %s", state);
	int r = taps_reserve(vm->network_cards, &launch->taps, err);
	if (r == 0)
		r = vm_read_log(vm, err);
	return r < 0 ? r : log_pipe_open(log, &launch->log, err);
}

/* Of a machine that is booted, what its size fills in. */
struct size_text {
	char vcpus[24], last_vcpu[24], memory_kib[24], max_memory_kib[24];
};

static void size_print(const struct vm *vm, const struct template_manifest *manifest,
		       struct size_text *text)
{
	uint64_t memory_kib = (uint64_t)vm->size.memory_mib * 1024;
	snprintf(text->vcpus, sizeof(text->vcpus), "%u", vm->size.vcpus);
	snprintf(text->last_vcpu, sizeof(text->last_vcpu), "%u", vm->size.vcpus - 1);
	snprintf(text->memory_kib, sizeof(text->memory_kib), "%" PRIu64, memory_kib);
	snprintf(text->max_memory_kib, sizeof(text->max_memory_kib), "%" PRIu64,
		 memory_kib + manifest->boot_room_kib);
}

static int make_arguments(const struct vm *vm, const struct template_manifest *manifest,
			  struct launch *launch, struct error *err)
{
	const struct clone_files *files = &launch->files;
	struct placeholder paths[CLONE_FILES_MAX];
	struct size_text size = {};
	size_print(vm, manifest, &size);
	for (size_t i = 0; i < files->count; i++)
		paths[i] = (struct placeholder){ files->items[i].placeholder,
						 files->items[i].opened };
	return argv_expand(vm->booting ? &manifest->boot_argv : &manifest->argv,
			   &(struct argv_values){
				   .files = paths,
				   .nfiles = files->count,
				   .share_dir = vm->share_dir,
				   .agent_fd = sockets[SOCKET_AGENT].child_fd,
				   .qmp_fd = sockets[SOCKET_QMP].child_fd,
				   .shim_fd = sockets[SOCKET_SHIM].child_fd,
				   .first_tap_fd = FIRST_TAP_FD,
				   .taps = vm->network_cards,
				   .vcpus = size.vcpus,
				   .last_vcpu = size.last_vcpu,
				   .memory_kib = size.memory_kib,
				   .max_memory_kib = size.max_memory_kib,
			   },
			   &launch->argv, err);
}

static int launch_prepare(struct vm *vm, const struct template_manifest *manifest,
			  struct launch *launch, struct error *err)
{
	_cleanup_free_ char *state = path_join(manifest->dir, "state");
	int r = make_folders(vm, err);
	if (r == 0)
		r = FAULT_ERROR("clone.folder", err);
	if (r == 0)
		r = open_files(vm, state, launch, err);
	if (r == 0)
		r = open_sockets(vm, launch, err);
	if (r == 0) {
		clone_files_init(&launch->files, &(struct clone_files_options){
							 .manifest = manifest,
							 .scratch_dir = vm->options.scratch_dir,
							 .booted = vm->booting,
							 .owner = vm->entry.uid,
							 .first_fd = FIRST_COPY_FD });
		r = make_arguments(vm, manifest, launch, err);
	}
	if (r == 0)
		r = prepare_jail(vm, manifest, launch, err);
	return r;
}

static int launch_spawn(struct vm *vm, const struct launch *launch, struct error *err)
{
	struct spawn_fd fds[2 + SOCKETS + CLONE_FILES_MAX + NETWORK_CARDS_MAX] = {
		{ launch->log, 1 },
		{ launch->log, 2 },
		{ launch->sockets[SOCKET_AGENT], 3 },
		{ launch->sockets[SOCKET_QMP], 4 },
		{ launch->sockets[SOCKET_SHIM], 5 },
		{ launch->sockets[SOCKET_DAX], 6 },
	};
	size_t nfds = 2 + SOCKETS;
	for (size_t i = 0; i < launch->files.count; i++)
		if (launch->files.items[i].copy >= 0)
			fds[nfds++] = (struct spawn_fd){ launch->files.items[i].copy,
							 launch->files.items[i].child_fd };
	for (size_t i = 0; i < launch->taps.count; i++)
		fds[nfds++] = (struct spawn_fd){ launch->taps.fds[i], FIRST_TAP_FD + (int)i };
	struct spawn_options options = {
		.argv = launch->argv.items,
		.cwd = "/",
		.fds = fds,
		.nfds = nfds,
		.new_session = true,
		.no_huge_pages = true,
		.merge_pages = vm->options.merge_pages && !launch->files.copied,
	};
	if (launch->jail) {
		options.env = jail_environment(launch->jail);
		options.in_child = jail_enter;
		options.in_parent = jail_admit;
		options.limits_files = true;
		options.hook_data = launch->jail;
	} else if (launch->taps.count > 0) {
		options.in_child = taps_enter;
		options.hook_data = (void *)&launch->taps;
	}
	int pidfd;
	int r = spawn(&options, &vm->entry.pid, &pidfd, err);
	if (r < 0)
		return r;
	vm_watch_process(vm, pidfd);
	r = FAULT_ERROR("clone.spawned", err);
	if (r < 0)
		return r;
	r = process_start_time(vm->entry.pid, &vm->entry.start_time);
	if (r < 0)
		return error_set_errno(err, r, "QEMU ended at once");
	r = journal_write(vm->run_dir, &vm->entry, err);
	return r < 0 ? r : FAULT_ERROR("clone.started", err);
}

static int clone_launch(struct vm *vm, struct error *err)
{
	int r = launch_spawn(vm, vm->launch, err);
	if (r == 0)
		r = vm_connect_monitor(vm, err);
	if (r == 0)
		r = vm_connect_agent(vm, err);
	if (r == 0 && vm->booting)
		vm_defer(vm, warm_begin);
	else if (r == 0)
		restore_begin(vm, vm->launch);
	vm_launch_free(steal_ptr(vm->launch));
	return r;
}

static void copy_free(void *userdata)
{
	clone_copy_free(userdata);
}

static void on_copied(int number, const struct error *why, void *userdata)
{
	struct vm *vm = userdata;
	_cleanup_(error_done) struct error err = {};
	loop_defer(vm->options.loop, copy_free, steal_ptr(vm->copy));
	if (!vm_take_answer(vm, number, why, NULL))
		return;
	vm_wait_done(vm);
	if (clone_launch(vm, &err) < 0)
		vm_fail(vm, &err);
}

static int clone_start(struct vm *vm, const struct template_manifest *manifest, struct error *err)
{
	int r = vm->options.jail.first_uid > 0 ? take_uids(vm, err)
					       : journal_write(vm->run_dir, &vm->entry, err);
	vm->launch = launch_new();
	if (r == 0)
		r = launch_prepare(vm, manifest, vm->launch, err);
	if (r == 0)
		r = FAULT_ERROR("clone.prepared", err);
	if (r < 0 || !vm->launch->files.has_copies)
		return r < 0 ? r : clone_launch(vm, err);
	vm->copy = clone_copy_start(vm->options.loop, &vm->launch->files, on_copied, vm);
	vm_wait(vm, COPY_DEADLINE_MS, "copy of the template's files");
	return 0;
}

/* What a failed start has made so far goes with it; false: not at once. */
static bool clone_undo(struct vm *vm)
{
	_cleanup_(error_done) struct error err = {};
	int status;
	vm->dying = true;
	if (vm->pidfd >= 0) {
		if (pidfd_kill(vm->pidfd, &err) < 0)
			log_error(vm->entry.id, "%s", error_message(&err));
		(void)spawn_reap(vm->pidfd, &status);
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
	r = clone_start(vm, options->manifest, &vm->why);
	if (r < 0)
		error_wrap(&vm->why, "cannot %s template %s", options->boot ? "boot" : "clone",
			   options->manifest->name);
	if (r < 0 && clone_undo(vm)) {
		error_move(err, &vm->why);
		vm_free(vm);
		return r;
	}
	*ret_vm = vm;
	return 0;
}
