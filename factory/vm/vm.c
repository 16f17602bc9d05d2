#include "factory/vm/vm.h"

#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "base/log_pipe.h"
#include "base/memory.h"
#include "base/socket.h"
#include "factory/vm/argv.h"
#include "factory/vm/host.h"
#include "factory/vm/launch.h"
#include "factory/vm/remains.h"
#include "factory/vm/vm_priv.h"

enum {
	LAST_WORDS_MS = 1000, /* from a broken channel to the process' end */
	/* What hinders an end or a removal mostly passes. Tried for less than a minute: whoever
	 * destroys or stops waits for it. */
	REMOVAL_RETRY_MS = 500,
	REMOVAL_RETRY_MAX_MS = 8000,
	REMOVALS_MAX = 10,
};

static const char *const vm_state_names[] = {
	[VM_SPAWNED] = "spawned", [VM_RESTORED] = "restored", [VM_WARMING] = "warming",
	[VM_SPARE] = "spare",     [VM_PARKED] = "parked",     [VM_CLAIMED] = "claimed",
	[VM_GONE] = "gone",
};
DEFINE_STRING_TABLE(vm_state, enum vm_state, vm_state_names)

static const unsigned vm_next[] = {
	[VM_SPAWNED] = STATE(VM_RESTORED) | STATE(VM_WARMING) /* booted */ | STATE(VM_GONE),
	[VM_RESTORED] = STATE(VM_WARMING) | STATE(VM_GONE),
	/* RESTORED: a spare that is wanted as it is stopped. */
	[VM_WARMING] = STATE(VM_SPARE) | STATE(VM_RESTORED) | STATE(VM_PARKED) | STATE(VM_GONE),
	[VM_SPARE] = STATE(VM_RESTORED) | STATE(VM_GONE),
	[VM_PARKED] = STATE(VM_CLAIMED) | STATE(VM_GONE),
	[VM_CLAIMED] = STATE(VM_GONE),
	[VM_GONE] = 0,
};
const struct state_machine vm_states = STATE_MACHINE("machine", vm_state_names, vm_next);

/* ---- states */

void vm_set_state(struct vm *vm, enum vm_state now)
{
	enum vm_state old = vm->entry.state;
	state_change(&vm_states, vm->entry.id, old, now);
	vm->entry.state = now;
	_cleanup_(error_done) struct error err = {};
	if (now != VM_GONE && journal_write(vm->run_dir, &vm->entry, &err) < 0) {
		vm->entry.state = old;
		vm_fail(vm, &err);
		return;
	}
	vm->state_since_ns = clock_monotonic_ns();
	if (vm->options.on_state)
		vm->options.on_state(vm, old, now, now == VM_GONE ? &vm->why : NULL,
				     vm->options.userdata);
}

/* ---- the object */

static void vm_release(struct vm *vm)
{
	clone_copy_free(steal_ptr(vm->copy));
	launch_free(steal_ptr(vm->launch));
	vm->state_fd = close_fd(vm->state_fd);
	warm_free(steal_ptr(vm->warm));
	growth_free(steal_ptr(vm->growth));
	ttrpc_client_free(steal_ptr(vm->agent));
	qmp_free(steal_ptr(vm->qmp));
	loop_watch_free(steal_ptr(vm->death));
	log_pipe_free(steal_ptr(vm->log));
	vm->pidfd = close_fd(vm->pidfd);
	loop_timer_free(steal_ptr(vm->adopt_again));
	vm_lease_end(vm);
}

static void vm_delete(struct vm *vm)
{
	vm_release(vm);
	loop_timer_free(vm->deadline);
	journal_entry_done(&vm->entry);
	carried_done(&vm->images);
	error_done(&vm->why);
	free(vm->run_dir);
	free(vm->dir);
	free(vm->share_dir);
	free(vm);
}

struct vm_deferred {
	struct vm *vm;
	void (*fn)(struct vm *vm);
};

static void vm_run_deferred(void *userdata)
{
	struct vm_deferred *call = userdata;
	struct vm *vm = call->vm;
	vm->deferred--;
	if (!vm->freed)
		call->fn(vm);
	if (vm->freed && vm->deferred == 0)
		vm_delete(vm);
	free(call);
}

void vm_defer(struct vm *vm, void (*fn)(struct vm *vm))
{
	struct vm_deferred *call = xnew(struct vm_deferred);
	call->vm = vm;
	call->fn = fn;
	vm->deferred++;
	loop_defer(vm->options.loop, vm_run_deferred, call);
}

void vm_free(struct vm *vm)
{
	if (!vm)
		return;
	vm->dying = true; /* what the channels still answer while they end means nothing */
	vm->freed = true;
	if (vm->deferred == 0)
		vm_delete(vm);
	else
		vm_release(vm);
}

/* ---- its end */

static void vm_end_claim(struct vm *vm)
{
	vm_claim_fn fn = steal_ptr(vm->claim_fn);
	if (fn)
		fn(vm, -vm->why.number, NULL, &vm->why, vm->claim_data);
}

static uint64_t removal_wait_ms(unsigned tries)
{
	uint64_t wait = (uint64_t)REMOVAL_RETRY_MS << tries;
	return wait < REMOVAL_RETRY_MAX_MS ? wait : REMOVAL_RETRY_MAX_MS;
}

/* Its end is vm_on_death(). */
static void vm_kill(struct vm *vm)
{
	_cleanup_(error_done) struct error err = {};
	if (host_kill(vm->options.jail.jailer, vm->pidfd, &err) == 0)
		return;
	if (vm->removals == REMOVALS_MAX) {
		log_error(vm->entry.id, "its process %d goes on: %s", (int)vm->entry.pid,
			  error_message(&err));
		return;
	}
	log_warning(vm->entry.id, "its process %d cannot be ended yet: %s", (int)vm->entry.pid,
		    error_message(&err));
	loop_timer_start(vm->deadline, removal_wait_ms(vm->removals++));
}

/* Of a machine whose start was answered, and the pidfd could not be taken. */
static bool vm_end_lost_process(struct vm *vm)
{
	int pidfd;
	if (vm->entry.pid > 0 ||
	    host_find_process(vm->options.jail.jailer, vm->run_dir, &vm->entry, &pidfd) < 0)
		return false;
	vm_watch_process(vm, pidfd);
	vm_kill(vm);
	return true;
}

bool vm_clear(struct vm *vm)
{
	_cleanup_(error_done) struct error err = {};
	vm_release(vm);
	vm_end_claim(vm);
	if (host_remove(vm->options.jail.jailer, vm->run_dir, &vm->entry, &err) == 0)
		return true;
	if (vm_end_lost_process(vm))
		return false;
	if (vm->removals == REMOVALS_MAX) {
		log_error(vm->entry.id, "something is left behind: %s", error_message(&err));
		return true;
	}
	log_warning(vm->entry.id, "it cannot be removed yet: %s", error_message(&err));
	loop_timer_start(vm->deadline, removal_wait_ms(vm->removals++));
	return false;
}

/* The process is dead or never was. */
static void vm_bury(struct vm *vm)
{
	FAULT_POINT("end.killed");
	if (vm_clear(vm))
		vm_set_state(vm, VM_GONE);
}

void vm_end_process(struct vm *vm)
{
	if (vm->pidfd < 0)
		vm_defer(vm, vm_bury);
	else
		vm_kill(vm);
}

/* A process that could not be looked at is ended when it can: vm_adopt.c. */
static void vm_end(struct vm *vm, struct error *why)
{
	if (vm->dying)
		return;
	vm->dying = true;
	error_move(&vm->why, why);
	loop_timer_stop(vm->deadline);
	if (!vm->adopt_again)
		vm_end_process(vm);
}

static void vm_on_death(int fd, unsigned events _unused_, void *userdata)
{
	struct vm *vm = userdata;
	int status = -1;
	if (host_reap(vm->options.jail.jailer, fd, &status) < 0)
		status = -1; /* not our child: a former factory's */
	loop_watch_free(steal_ptr(vm->death));
	log_pipe_drain(vm->log);
	loop_timer_stop(vm->deadline);
	if (!vm->dying) {
		_cleanup_free_ char *words = remains_last_words(vm->dir, status);
		vm->dying = true;
		error_set(&vm->why, ESRCH, "%s", words);
	}
	vm_defer(vm, vm_bury);
}

void vm_watch_process(struct vm *vm, int pidfd)
{
	vm->pidfd = pidfd;
	vm->death = loop_watch_new(vm->options.loop, pidfd, LOOP_READ, vm_on_death, vm);
}

int vm_read_log(struct vm *vm, struct error *err)
{
	_cleanup_free_ char *path = path_join(vm->dir, VM_LOG);

	return log_pipe_new(vm->options.loop, path, &vm->log, err);
}

static bool means_connection_lost(int number)
{
	return number == ENOTCONN || number == ECONNRESET || number == EPIPE ||
	       number == ECONNREFUSED || number == ttrpc_code_to_errno(TTRPC_UNAVAILABLE);
}

void vm_fail(struct vm *vm, struct error *err)
{
	if (vm->dying || vm->lost) {
		error_done(err);
		return;
	}
	if (vm->pidfd < 0 || !means_connection_lost(err->number)) {
		vm_end(vm, err);
		return;
	}
	vm->lost = true;
	error_move(&vm->why, err);
	loop_timer_start(vm->deadline, LAST_WORDS_MS);
}

void vm_destroy(struct vm *vm, const char *reason)
{
	struct error why = {};
	if (vm->entry.state == VM_GONE)
		return;
	error_set(&why, ECANCELED, "%s", reason ? reason : "destroyed");
	vm_end(vm, &why);
	error_done(&why);
}

/* ---- deadlines, channels */

static void vm_on_deadline(void *userdata)
{
	struct vm *vm = userdata;
	_cleanup_(error_done) struct error err = {};
	if (vm->removals > 0) {
		if (vm->death)
			vm_kill(vm);
		else
			vm_defer(vm, vm_bury);
		return;
	}
	if (vm->lost)
		error_move(&err, &vm->why);
	else
		error_set(&err, ETIMEDOUT, "no %s within %u s", vm->waiting_for,
			  vm->waiting_ms / 1000);
	vm_end(vm, &err);
}

void vm_wait(struct vm *vm, unsigned ms, const char *waiting_for)
{
	if (vm->dying || vm->lost)
		return;
	vm->waiting_for = waiting_for;
	vm->waiting_ms = ms * vm->patience;
	loop_timer_start(vm->deadline, vm->waiting_ms);
}

void vm_wait_done(struct vm *vm)
{
	if (!vm->lost)
		loop_timer_stop(vm->deadline);
}

static void vm_on_qmp_event(struct qmp *qmp _unused_, const char *event, json_t *data,
			    void *userdata)
{
	vm_clone_on_event(userdata, event, data);
}

/* A claimed machine needs its channels no more; its process' end is what counts then. */
static void vm_on_qmp_end(struct qmp *qmp _unused_, int reason, void *userdata)
{
	struct vm *vm = userdata;
	_cleanup_(error_done) struct error err = {};
	if (vm->entry.state == VM_CLAIMED && !vm->claim_fn)
		return;
	error_set(&err, ENOTCONN, "the monitor's connection ended (%s)",
		  reason < 0 ? strerror(-reason) : "closed by QEMU");
	vm_fail(vm, &err);
}

static void vm_on_agent_end(struct ttrpc_client *agent _unused_, int reason, void *userdata)
{
	struct vm *vm = userdata;
	_cleanup_(error_done) struct error err = {};
	error_set(&err, ENOTCONN, "the agent's channel ended (%s)",
		  reason < 0 ? strerror(-reason) : "closed by QEMU");
	vm_fail(vm, &err);
}

int vm_connect_in(const char *dir, const char *name, int *ret_fd, struct error *err)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", dir, name);
	return socket_connect(path, ret_fd, err);
}

int vm_connect_monitor(struct vm *vm, struct error *err)
{
	int fd;
	int r = vm_connect_in(vm->dir, "qmp.sock", &fd, err);
	if (r < 0)
		return r;
	vm->qmp = qmp_new(vm->options.loop, fd,
			  &(struct qmp_options){
				  .on_event = vm_on_qmp_event,
				  .on_end = vm_on_qmp_end,
				  .userdata = vm,
			  });
	return 0;
}

int vm_connect_agent(struct vm *vm, struct error *err)
{
	int fd;
	int r = vm_connect_in(vm->dir, "agent.sock", &fd, err);
	if (r < 0)
		return r;
	vm->agent = ttrpc_client_new(vm->options.loop, fd,
				     &(struct ttrpc_client_options){
					     .on_end = vm_on_agent_end,
					     .userdata = vm,
				     });
	return 0;
}

bool vm_take_answer(struct vm *vm, int number, const struct error *err, const char *what)
{
	if (vm->dying)
		return false;
	if (number == 0)
		return !vm->lost;
	_cleanup_(error_done) struct error why = {};
	error_set(&why, number, "%s", error_message(err));
	if (what)
		error_wrap(&why, "%s", what);
	vm_fail(vm, &why);
	return false;
}

bool vm_take_warm_answer(struct vm *vm, int number, const struct error *err)
{
	warm_free(steal_ptr(vm->warm));
	return vm_take_answer(vm, number, err, NULL);
}

/* ---- after the claim */

void vm_confirm(struct vm *vm)
{
	_cleanup_(error_done) struct error err = {};
	vm->entry.confirmed = true;
	if (!vm->dying && journal_write(vm->run_dir, &vm->entry, &err) < 0)
		log_error(vm->entry.id, "the confirmation is not in the journal: %s",
			  error_message(&err));
	FAULT_POINT("confirm.journaled");
}

bool vm_confirmed(const struct vm *vm)
{
	return vm->entry.confirmed;
}

/* ---- making the object, asking it */

static void vm_take_size(struct vm *vm, const struct vm_options *options)
{
	if (options->boot)
		vm->size = vm->max_size = *options->boot;
	else if (options->manifest) {
		vm->size = template_size(options->manifest);
		vm->max_size = template_max_size(options->manifest);
	}
}

struct vm *vm_new(const struct vm_options *options, const struct journal_entry *entry)
{
	struct vm *vm = xnew(struct vm);
	vm->run_dir = xstrdup(options->run_dir);
	vm->options = *options;
	vm->options.run_dir = vm->run_dir;
	vm->options.manifest = NULL;
	vm->options.boot = NULL;
	vm->options.sandbox_id = NULL;  /* in the entry where there is one */
	vm->options.jail.cgroup = NULL; /* the same */
	vm->booting = options->boot != NULL;
	vm->spare = options->spare && !vm->booting;
	vm_take_size(vm, options);
	vm->entry = *entry;
	vm->entry.id = xstrdup(entry->id);
	vm->entry.template_id = xstrdup(entry->template_id);
	vm->entry.template_name = xstrdup(entry->template_name);
	vm->entry.sandbox_id = xstrdup(entry->sandbox_id);
	vm->entry.cgroup = xstrdup(entry->cgroup);
	vm->dir = remains_dir(vm->run_dir, entry->id);
	vm->share_dir = xasprintf("%s/share", vm->dir);
	vm->patience = 1;
	if (options->manifest) {
		vm->patience = template_patience(options->manifest);
		carried_copy(&options->manifest->inputs.images, &vm->images);
		vm->block_slots = (unsigned)options->manifest->block_slots;
		vm->dax_windows = (unsigned)options->manifest->dax_windows;
		vm->network_cards = (unsigned)options->manifest->network_cards;
		vm->vhost_net = argv_has_vhost_net(&options->manifest->argv);
		vm->dax_window_bytes = options->manifest->dax_window_bytes;
		vm->own_memory = template_is_copied(options->manifest);
		vm->scratch_bytes = options->manifest->scratch_bytes;
	}
	vm->spawned_ns = vm->state_since_ns = clock_monotonic_ns();
	vm->pidfd = vm->claimer_pidfd = vm->state_fd = -EBADF;
	vm->deadline = loop_timer_new(options->loop, vm_on_deadline, vm);
	return vm;
}

const char *vm_id(const struct vm *vm)
{
	return vm->entry.id;
}

const char *vm_dir(const struct vm *vm)
{
	return vm->dir;
}

const char *vm_share_dir(const struct vm *vm)
{
	return vm->share_dir;
}

unsigned vm_network_cards(const struct vm *vm)
{
	return vm->network_cards;
}

bool vm_has_vhost_net(const struct vm *vm)
{
	return vm->vhost_net;
}

unsigned vm_block_slots(const struct vm *vm)
{
	return vm->block_slots;
}

/* The library that fills them is given to a VMM in a jail only. */
unsigned vm_dax_windows(const struct vm *vm)
{
	return vm->entry.uid > 0 ? vm->dax_windows : 0;
}

uint64_t vm_dax_window_bytes(const struct vm *vm)
{
	return vm->dax_window_bytes;
}

bool vm_has_own_memory(const struct vm *vm)
{
	return vm->own_memory;
}

uint64_t vm_scratch_bytes(const struct vm *vm)
{
	return vm->scratch_bytes;
}

const struct carried *vm_images(const struct vm *vm)
{
	return &vm->images;
}

const char *vm_template_id(const struct vm *vm)
{
	return vm->entry.template_id;
}

const char *vm_sandbox_id(const struct vm *vm)
{
	return vm->entry.sandbox_id ? vm->entry.sandbox_id : "";
}

enum vm_state vm_state(const struct vm *vm)
{
	return vm->entry.state;
}

pid_t vm_pid(const struct vm *vm)
{
	return vm->entry.pid;
}

uint32_t vm_guest_cid(const struct vm *vm)
{
	return vm->entry.guest_cid;
}

struct vm_size vm_size(const struct vm *vm)
{
	return vm->size;
}

struct vm_size vm_max_size(const struct vm *vm)
{
	return vm->max_size;
}

uint64_t vm_spawned_ns(const struct vm *vm)
{
	return vm->spawned_ns;
}

/* ---- reaping without a loop */
