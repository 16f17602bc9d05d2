/* The lease of a claimed machine: it is its claimer's as long as that process lives.
 *
 *   vm_lease           pid and start time go into the journal, a pidfd is watched
 *   on_again           where the claimer could not be looked at, for lack of descriptors say
 *   on_claimer_death   the grace time begins; vm_lease() with another process ends it
 *   on_grace_over      the machine is destroyed */
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/pidfd.h"
#include "factory/vm/vm_priv.h"

enum {
	GRACE_DEFAULT_MS = 30 * 1000,
	AGAIN_MS = 1000,
	PID_FIRST = 2, /* the kernel says 0 of a process in a pid namespace we do not see */
};

static uint64_t grace_ms(const struct vm *vm)
{
	return vm->options.lease_grace_ms ? vm->options.lease_grace_ms : GRACE_DEFAULT_MS;
}

static void on_grace_over(void *userdata)
{
	struct vm *vm = userdata;
	_cleanup_free_ char *reason = xasprintf(
		"its claimer (pid %d) died, and nobody took it over within %llu s",
		(int)vm->entry.claimer_pid, (unsigned long long)grace_ms(vm) / 1000);
	vm_destroy(vm, reason);
}

static void watch_end(struct vm *vm)
{
	loop_watch_free(steal_ptr(vm->claimer_death));
	loop_timer_free(steal_ptr(vm->grace));
	vm->claimer_pidfd = close_fd(vm->claimer_pidfd);
}

void vm_lease_end(struct vm *vm)
{
	watch_end(vm);
	loop_timer_free(steal_ptr(vm->lease_again));
}

static void grace_begin(struct vm *vm)
{
	watch_end(vm);
	log_warning(vm->entry.id, "the claimer of sandbox %s (pid %d) is dead: reaped in %llu s",
		    vm_sandbox_id(vm), (int)vm->entry.claimer_pid,
		    (unsigned long long)grace_ms(vm) / 1000);
	vm->grace = loop_timer_new(vm->options.loop, on_grace_over, vm);
	loop_timer_start(vm->grace, grace_ms(vm));
}

static void on_claimer_death(int fd _unused_, unsigned events _unused_, void *userdata)
{
	grace_begin(userdata);
}

static void on_again(void *userdata)
{
	struct vm *vm = userdata;
	if (vm->claimer_unread)
		vm_lease(vm, vm->claimer_unread);
	else
		vm_lease_watch(vm);
}

/* Not to know whether the claimer lives is not to know that it is dead. */
static void look_again(struct vm *vm, pid_t claimer, int why)
{
	if (!vm->lease_again) {
		log_warning(vm->entry.id, "its claimer (pid %d) cannot be watched yet: %s",
			    (int)claimer, strerror(-why));
		vm->lease_again = loop_timer_new(vm->options.loop, on_again, vm);
	}
	loop_timer_start(vm->lease_again, AGAIN_MS);
}

void vm_lease_watch(struct vm *vm)
{
	watch_end(vm);
	if (vm->entry.claimer_pid == 0 || vm->dying)
		return;
	int r = process_open(vm->entry.claimer_pid, vm->entry.claimer_start, &vm->claimer_pidfd);
	if (r == -ESRCH)
		grace_begin(vm);
	else if (r < 0)
		look_again(vm, vm->entry.claimer_pid, r);
	if (r < 0)
		return;
	loop_timer_free(steal_ptr(vm->lease_again));
	vm->claimer_death = loop_watch_new(vm->options.loop, vm->claimer_pidfd, LOOP_READ,
					   on_claimer_death, vm);
}

void vm_lease(struct vm *vm, pid_t claimer)
{
	_cleanup_(error_done) struct error err = {};
	uint64_t start = 0; /* of one that is dead already: nobody has it, and the grace begins */
	if (claimer < PID_FIRST || vm->dying)
		return;
	int r = process_start_time(claimer, &start);
	vm->claimer_unread = r < 0 && r != -ESRCH ? claimer : 0;
	if (vm->claimer_unread) {
		look_again(vm, claimer, r);
		return;
	}
	if (vm->entry.claimer_pid == claimer && vm->entry.claimer_start == start)
		return;
	vm->entry.claimer_pid = claimer;
	vm->entry.claimer_start = start;
	if (journal_write(vm->run_dir, &vm->entry, &err) < 0)
		log_error(vm->entry.id, "its claimer is not in the journal: %s",
			  error_message(&err));
	vm_lease_watch(vm);
}
