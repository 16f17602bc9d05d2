/* The hand-over of a parked machine:
 *
 *   vm_claim        journal: CLAIMED; cont
 *   on_resumed      the hand-over, or where the machine is too small:
 *   claim_grow      growth
 *   grown_finish    the hand-over
 *
 * Where nothing has to grow the descriptors are ready before `cont`, and its answer is all there
 * is to wait for. */
#include <fcntl.h>

#include "base/fault.h"
#include "base/memory.h"
#include "base/trace.h"
#include "factory/vm/host.h"
#include "factory/vm/vm_priv.h"

enum { CONT_TIMEOUT_MS = 10 * 1000 };

struct vm_claim {
	struct vm *vm;
	struct trace_span resume;
	struct vm_handover handover;
};

static int fill_handover(struct vm *vm, struct vm_handover *handover, struct error *err)
{
	int r = vm_connect_in(vm->dir, "shim.sock", &handover->qmp_fd, err);
	if (r < 0)
		return r;
	handover->pidfd = fcntl(vm->pidfd, F_DUPFD_CLOEXEC, 3);
	if (handover->pidfd < 0)
		return error_set_errno(err, errno, "cannot duplicate the pidfd");
	r = ttrpc_client_detach(vm->agent, &handover->agent_fd, &handover->next_stream);
	if (r < 0)
		return error_set(err, -r, "the agent's channel is not quiet");
	vm->agent = NULL;
	vm->entry.next_stream = handover->next_stream;
	return 0;
}

static void claim_finish(struct vm *vm, const struct vm_handover *handover)
{
	vm_claim_fn fn = steal_ptr(vm->claim_fn);
	FAULT_POINT("claim.resumed");
	fn(vm, 0, handover, NULL, vm->claim_data);
}

/* ---- growing */

/* Else its VMM could use the spare processors without having been given them. */
static int let_use_vcpus(const struct vm *vm, struct error *err)
{
	if (vm->grow_to.vcpus == vm->size.vcpus)
		return 0;
	return host_grow(vm->options.jail.jailer, &vm->entry, vm->grow_to.vcpus, err);
}

/* From the loop: the agent's channel is quiet again and is handed over now. */
static void grown_finish(struct vm *vm)
{
	struct vm_handover handover = { .agent_fd = -EBADF, -EBADF, -EBADF, 0 };
	_cleanup_(error_done) struct error err = {};
	if (!vm_take_answer(vm, 0, NULL, NULL))
		return;
	int r = fill_handover(vm, &handover, &err);
	if (r == 0)
		r = journal_write(vm->run_dir, &vm->entry, &err);
	if (r == 0) {
		vm->size = vm->grow_to;
		claim_finish(vm, &handover);
		return;
	}
	vm_handover_close(&handover);
	vm_fail(vm, &err);
}

static void on_grown(struct growth *growth, int number, const struct error *err, void *userdata)
{
	struct vm *vm = userdata;
	growth_free(growth);
	vm->growth = NULL;
	FAULT_POINT("claim.grown");
	if (vm_take_answer(vm, number, err, NULL))
		vm_defer(vm, grown_finish);
}

static void claim_grow(struct vm *vm)
{
	_cleanup_(error_done) struct error err = {};
	int r = let_use_vcpus(vm, &err);
	if (r < 0) {
		vm_fail(vm, &err);
		return;
	}
	uint64_t more_mib = vm->grow_to.memory_mib - vm->size.memory_mib;
	uint64_t bytes = (more_mib << 20) + GROWTH_BLOCK_BYTES - 1;
	vm->growth = growth_start(&(struct growth_options){
		.loop = vm->options.loop,
		.qmp = vm->qmp,
		.agent = vm->agent,
		.object = vm->entry.id,
		.vcpus = vm->grow_to.vcpus - vm->size.vcpus,
		.memory_bytes = bytes / GROWTH_BLOCK_BYTES * GROWTH_BLOCK_BYTES,
		.on_done = on_grown,
		.userdata = vm,
	});
}

/* ---- the claim */

static void on_resumed(int number, json_t *result _unused_, const struct error *err, void *userdata)
{
	struct vm_claim *claim = userdata;
	struct vm *vm = claim->vm;
	struct vm_handover handover = claim->handover;
	const struct trace_span resume = claim->resume;
	free(claim);
	if (vm->freed || !vm_take_answer(vm, number, err, "resuming for the claim")) {
		vm_handover_close(&handover);
		return;
	}
	trace_end(TRACE_RESUME, vm_sandbox_id(vm), &resume);
	if (!vm_size_is_any(&vm->grow_to))
		claim_grow(vm);
	else
		claim_finish(vm, &handover);
}

/* What it must become; 0, 0 where it has all that is wanted. -EINVAL: more than it can be. */
static int size_to_grow_to(const struct vm *vm, const struct vm_size *wanted,
			   struct vm_size *ret_size, struct error *err)
{
	*ret_size = (struct vm_size){};
	if (!wanted || vm_size_holds(&vm->size, wanted))
		return 0;
	if (!vm_size_holds(&vm->max_size, wanted))
		return error_set(err, EINVAL,
				 "it cannot grow to %u vCPUs and %u MiB, only to %u and %u",
				 wanted->vcpus, wanted->memory_mib, vm->max_size.vcpus,
				 vm->max_size.memory_mib);
	*ret_size = vm_size_raise(&vm->size, wanted);
	return 0;
}

/* The lease is in the journal before anything of the claimer's can happen in the guest. */
void vm_claim(struct vm *vm, const char *sandbox_id, const struct vm_size *size, vm_claim_fn fn,
	      void *userdata)
{
	_cleanup_(error_done) struct error err = {};
	if (vm->entry.state != VM_PARKED)
		abort();
	vm->claim_fn = fn;
	vm->claim_data = userdata;
	if (vm->dying || vm->lost)
		return; /* its end answers the claim */

	struct vm_claim *claim = xnew(struct vm_claim);
	const struct trace_span span = trace_begin();
	claim->vm = vm;
	claim->handover = (struct vm_handover){ .agent_fd = -EBADF, -EBADF, -EBADF, 0 };
	int r = size_to_grow_to(vm, size, &vm->grow_to, &err);
	if (r == 0 && vm_size_is_any(&vm->grow_to))
		r = fill_handover(vm, &claim->handover, &err);
	if (r == 0) {
		replace_string(&vm->entry.sandbox_id, sandbox_id);
		vm_set_state(vm, VM_CLAIMED);
		r = FAULT_ERROR("claim.journaled", &err);
		trace_end(TRACE_HANDOVER, sandbox_id, &span);
	}
	if (r < 0 || vm->dying || vm->lost) {
		vm_handover_close(&claim->handover);
		free(claim);
		vm_fail(vm, &err);
		return;
	}
	claim->resume = trace_begin();
	qmp_command(vm->qmp, "cont", NULL, CONT_TIMEOUT_MS, on_resumed, claim);
}
