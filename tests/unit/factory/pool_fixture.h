/* A pool over machines that do what the test says: this file is the VM library's other end, in
 * the place of factory/vm/vm.c and vm_probe.c. Its clock stands still but for advance(). */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
/* After what it needs. */
#include <cmocka.h>

#include "base/memory.h"
#include "factory/pool/pool_priv.h"
#include "factory/vm/journal.h"
#include "factory/vm/vm_probe.h"

#define VMS_MAX 64

struct vm {
	struct vm_options options;
	enum vm_state state;
	char id[8];
	char sandbox[64];
	struct vm_size boot, claimed_size;
	bool confirmed;
	bool claim_fails, claim_hangs;
	vm_claim_fn claim_fn;
	void *claim_data;
	bool probe_fails, probe_hangs;
	vm_probe_fn probe_fn;
	void *probe_data;
};

static struct vm *vms[VMS_MAX]; /* in the order they were made; NULL once freed */
static unsigned vms_made, vms_freed, clones_refused, probes;
static uint64_t fake_now_ns;
static int64_t fake_available_mib;

static const char *const vm_state_names[] = {
	[VM_SPAWNED] = "spawned", [VM_SPARE] = "spare",   [VM_RESTORED] = "restored",
	[VM_WARMING] = "warming", [VM_PARKED] = "parked", [VM_CLAIMED] = "claimed",
	[VM_GONE] = "gone",
};
DEFINE_STRING_TABLE(vm_state, enum vm_state, vm_state_names)

static void vm_becomes(struct vm *vm, enum vm_state state, const char *reason)
{
	_cleanup_(error_done) struct error why = {};
	enum vm_state old = vm->state;

	(void)error_set(&why, EIO, "%s", reason);
	vm->state = state;
	vm->options.on_state(vm, old, state, state == VM_GONE ? &why : NULL, vm->options.userdata);
}

int vm_start(const struct vm_options *options, struct vm **ret_vm, struct error *err)
{
	if (clones_refused > 0) {
		clones_refused--;
		return error_set(err, EIO, "no QEMU today");
	}
	assert_true(vms_made < VMS_MAX);
	struct vm *vm = xnew(struct vm);
	vm->options = *options;
	if (options->boot)
		vm->boot = *options->boot;
	snprintf(vm->id, sizeof(vm->id), "vm%u", vms_made);
	vms[vms_made++] = vm;
	*ret_vm = vm;
	return 0;
}

void vm_use_spare(struct vm *vm)
{
	assert_true(vm->options.spare);
	vm->options.spare = false;
	if (vm->state == VM_SPARE)
		vm_becomes(vm, VM_RESTORED, "");
}

int vm_adopt(const struct vm_options *options, const struct journal_entry *entry,
	     struct vm **ret_vm, struct error *err)
{
	int r = vm_start(options, ret_vm, err);
	if (r == 0) {
		(*ret_vm)->state = entry->state;
		(*ret_vm)->confirmed = entry->confirmed;
	}
	return r;
}

static void claim_answer(void *userdata)
{
	_cleanup_(error_done) struct error err = {};
	struct vm *vm = userdata;
	struct vm_handover handover = { .agent_fd = -EBADF, .qmp_fd = -EBADF, .pidfd = -EBADF };

	if (!vm->claim_fails) {
		vm_becomes(vm, VM_CLAIMED, "");
		vm->claim_fn(vm, 0, &handover, NULL, vm->claim_data);
		return;
	}
	int r = error_set(&err, EIO, "it died");
	vm->claim_fn(vm, r, NULL, &err, vm->claim_data);
}

void vm_claim(struct vm *vm, const char *sandbox_id, const struct vm_size *size, vm_claim_fn fn,
	      void *userdata)
{
	snprintf(vm->sandbox, sizeof(vm->sandbox), "%s", sandbox_id);
	vm->claimed_size = *size;
	vm->claim_fn = fn;
	vm->claim_data = userdata;
	if (!vm->claim_hangs)
		loop_defer(vm->options.loop, claim_answer, vm);
}

static void vm_end(void *userdata)
{
	vm_becomes(userdata, VM_GONE, "destroyed");
}

void vm_destroy(struct vm *vm, const char *reason _unused_)
{
	loop_defer(vm->options.loop, vm_end, vm);
}

static void probe_answer(void *userdata)
{
	_cleanup_(error_done) struct error err = {};
	struct vm *vm = userdata;
	int r = vm->probe_fails ? error_set(&err, ETIMEDOUT, "no answer") : 0;

	if (vm->state == VM_PARKED || vm->state == VM_SPARE)
		vm->probe_fn(vm, r, &err, vm->probe_data);
}

void vm_probe(struct vm *vm, vm_probe_fn fn, void *userdata)
{
	probes++;
	vm->probe_fn = fn;
	vm->probe_data = userdata;
	if (!vm->probe_hangs)
		loop_defer(vm->options.loop, probe_answer, vm);
}

void vm_free(struct vm *vm)
{
	for (unsigned i = 0; i < vms_made; i++) {
		if (vms[i] == vm)
			vms[i] = NULL;
	}
	vms_freed++;
	free(vm);
}

void vm_confirm(struct vm *vm)
{
	vm->confirmed = true;
}

bool vm_confirmed(const struct vm *vm)
{
	return vm->confirmed;
}

const char *vm_id(const struct vm *vm)
{
	return vm->id;
}

const char *vm_template_id(const struct vm *vm)
{
	return vm->options.manifest ? vm->options.manifest->id : "";
}

const char *vm_sandbox_id(const struct vm *vm)
{
	return vm->sandbox;
}

struct vm_size vm_size(const struct vm *vm)
{
	return vm->options.boot ? vm->boot : (struct vm_size){ 1, 256 };
}

struct vm_size vm_max_size(const struct vm *vm)
{
	return (struct vm_size){ 4, str_equal(vm_template_id(vm), "template-large") ? 4096 : 1024 };
}

enum vm_state vm_state(const struct vm *vm)
{
	return vm->state;
}

/* ---------------------------------------------------------------- the tests' own */

struct fixture {
	struct loop *loop;
	struct metrics metrics;
	struct host_room room;
	struct pool *pool;
	struct template_manifest manifest;
	unsigned granted, failed, cloned, booted;
	struct pool_member *last;
	char error[256];
	char reason[64];
	char order[256]; /* sandboxes in the order they were served */
};

static uint64_t fake_now(void)
{
	return fake_now_ns;
}

static int64_t fake_available(void)
{
	return fake_available_mib;
}

static struct pool_options default_options(struct fixture *f)
{
	return (struct pool_options){
		.loop = f->loop,
		.name = "default",
		.run_dir = "/nowhere",
		.metrics = &f->metrics,
		.room = &f->room,
		.policy = { .target = 2, .min = 1, .max = 6 },
		.clones_at_once = 2,
		.max_waiting = 3,
		.now_ns = fake_now,
	};
}

static int setup(void **state)
{
	struct fixture *f = xnew(struct fixture);

	vms_made = vms_freed = clones_refused = probes = 0;
	fake_now_ns = 1000000000000;
	fake_available_mib = 4096;
	f->room = (struct host_room){ .max_vms = 8, .available_mib = fake_available };
	f->loop = loop_new();
	struct pool_options options = default_options(f);
	f->pool = pool_new(&options);
	snprintf(f->manifest.id, sizeof(f->manifest.id), "template-a");
	*state = f;
	return 0;
}

/* Lets everything that was deferred happen. */
static void settle(struct fixture *f)
{
	const bool never = false;

	(void)loop_run_until(f->loop, &never, 5);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	settle(f);
	pool_free(f->pool);
	loop_free(f->loop);
	metrics_done(&f->metrics);
	assert_int_equal(vms_made, vms_freed);
	free(f);
	return 0;
}

static _unused_ void advance(struct fixture *f, uint64_t ms)
{
	fake_now_ns += ms * 1000000;
	pool_tick(f->pool);
	settle(f);
}

static void park_all(struct fixture *f)
{
	settle(f);
	for (unsigned i = 0; i < vms_made; i++) {
		if (vms[i] && !vms[i]->options.spare &&
		    (vms[i]->state == VM_SPAWNED || vms[i]->state == VM_RESTORED))
			vm_becomes(vms[i], VM_PARKED, "");
	}
	settle(f);
}

static void on_claim(int number, const struct pool_grant *grant, const struct error *err,
		     void *userdata)
{
	struct fixture *f = userdata;

	if (number < 0) {
		f->failed++;
		snprintf(f->error, sizeof(f->error), "%s", error_message(err));
		return;
	}
	f->granted++;
	f->cloned += grant->origin == CLAIM_CLONED;
	f->booted += grant->origin == CLAIM_BOOTED;
	f->last = grant->member;
	snprintf(f->reason, sizeof(f->reason), "%s", grant->reason);
	strncat(f->order, vm_sandbox_id(pool_member_vm(grant->member)),
		sizeof(f->order) - strlen(f->order) - 1);
	strncat(f->order, " ", sizeof(f->order) - strlen(f->order) - 1);
	assert_true((grant->origin != CLAIM_POOLED) == !str_empty(grant->reason));
}

static int claim_request(struct fixture *f, const struct pool_request *request,
			 struct pool_ticket **ret_ticket)
{
	_cleanup_(error_done) struct error err = {};
	struct pool_ticket *ticket = NULL;

	int r = pool_claim(f->pool, request, on_claim, f, &ticket, &err);
	if (ret_ticket)
		*ret_ticket = ticket;
	if (r < 0)
		snprintf(f->error, sizeof(f->error), "%s", error_message(&err));
	return r;
}

static int claim_as(struct fixture *f, const char *sandbox, enum claim_priority priority,
		    struct pool_ticket **ret_ticket)
{
	const struct pool_request request = { .sandbox_id = sandbox, .priority = priority };

	return claim_request(f, &request, ret_ticket);
}

static int claim(struct fixture *f, const char *sandbox, struct pool_ticket **ret_ticket)
{
	return claim_as(f, sandbox, CLAIM_NORMAL, ret_ticket);
}

static struct pool_counts counts(struct fixture *f)
{
	struct pool_counts c;

	pool_counts(f->pool, &c);
	return c;
}

/* How often `counter` was counted for this reason. */
static _unused_ uint64_t counted(const struct fixture *f, enum counter counter, const char *reason)
{
	for (size_t i = 0; i < f->metrics.used; i++) {
		const struct count *count = &f->metrics.counts[i];
		if (count->counter == counter && str_equal(count->reason, reason))
			return count->value;
	}
	return 0;
}

#define POOL_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
