/* The pool against machines that do what the test says: this file is the VM library's other
 * end, in the place of factory/vm/vm.c. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
/* After what it needs. */
#include <cmocka.h>

#include "base/memory.h"
#include "factory/pool.h"
#include "factory/vm/journal.h"

#define VMS_MAX 16

struct vm {
	struct vm_options options;
	enum vm_state state;
	char id[8];
	char sandbox[64];
	bool confirmed;
	bool claim_fails;
	vm_claim_fn claim_fn;
	void *claim_data;
};

static struct vm *vms[VMS_MAX]; /* alive and dead, in the order they were made */
static unsigned vms_made, vms_freed, clones_refused;

static const char *const vm_state_names[] = {
	[VM_SPAWNED] = "spawned", [VM_RESTORED] = "restored", [VM_WARMING] = "warming",
	[VM_PARKED] = "parked",   [VM_CLAIMED] = "claimed",   [VM_GONE] = "gone",
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

int vm_clone(const struct vm_options *options, struct vm **ret_vm, struct error *err)
{
	if (clones_refused > 0) {
		clones_refused--;
		return error_set(err, EIO, "no QEMU today");
	}
	assert_true(vms_made < VMS_MAX);
	struct vm *vm = xnew(struct vm);
	vm->options = *options;
	snprintf(vm->id, sizeof(vm->id), "vm%u", vms_made);
	vms[vms_made++] = vm;
	*ret_vm = vm;
	return 0;
}

int vm_adopt(const struct vm_options *options, const struct journal_entry *entry,
	     struct vm **ret_vm, struct error *err)
{
	int r = vm_clone(options, ret_vm, err);
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

void vm_claim(struct vm *vm, const char *sandbox_id, vm_claim_fn fn, void *userdata)
{
	snprintf(vm->sandbox, sizeof(vm->sandbox), "%s", sandbox_id);
	vm->claim_fn = fn;
	vm->claim_data = userdata;
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

void vm_free(struct vm *vm)
{
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

enum vm_state vm_state(const struct vm *vm)
{
	return vm->state;
}

uint64_t vm_state_since_ns(const struct vm *vm _unused_)
{
	return 0;
}

/* ---------------------------------------------------------------- the tests' own */

struct fixture {
	struct loop *loop;
	struct counters counters;
	struct pool *pool;
	struct template_manifest manifest;
	unsigned granted, failed, cloned;
	struct pool_member *last;
	char error[256];
};

static struct pool_options default_options(struct fixture *f)
{
	return (struct pool_options){
		.loop = f->loop,
		.name = "default",
		.run_dir = "/nowhere",
		.counters = &f->counters,
		.target = 2,
		.clones_at_once = 2,
		.max_vms = 8,
		.max_waiting = 3,
	};
}

static int setup(void **state)
{
	struct fixture *f = xnew(struct fixture);

	vms_made = vms_freed = clones_refused = 0;
	f->loop = loop_new();
	struct pool_options options = default_options(f);
	f->pool = pool_new(&options);
	snprintf(f->manifest.id, sizeof(f->manifest.id), "template-a");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	pool_free(f->pool);
	loop_free(f->loop);
	counters_done(&f->counters);
	assert_int_equal(vms_made, vms_freed);
	free(f);
	return 0;
}

/* Lets everything that was deferred happen. */
static void settle(struct fixture *f)
{
	const bool never = false;

	(void)loop_run_until(f->loop, &never, 5);
}

static void park_all(struct fixture *f)
{
	settle(f);
	for (unsigned i = 0; i < vms_made; i++) {
		if (vms[i] && vms[i]->state == VM_SPAWNED)
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
	f->cloned += grant->cloned;
	f->last = grant->member;
	assert_true(grant->cloned == !str_empty(grant->reason));
}

static int claim(struct fixture *f, const char *sandbox, struct pool_ticket **ret_ticket)
{
	_cleanup_(error_done) struct error err = {};
	struct pool_ticket *ticket = NULL;

	int r = pool_claim(f->pool, sandbox, on_claim, f, &ticket, &err);
	if (ret_ticket)
		*ret_ticket = ticket;
	return r;
}

static struct pool_counts counts(struct fixture *f)
{
	struct pool_counts c;

	pool_counts(f->pool, &c);
	return c;
}

static void fills_to_its_target(void **state)
{
	struct fixture *f = *state;

	pool_open(f->pool, &f->manifest);
	settle(f);
	assert_int_equal(counts(f).coming, 2);
	park_all(f);
	assert_int_equal(counts(f).parked, 2);
	assert_int_equal(vms_made, 2);
}

static void serves_from_the_pool_and_refills(void **state)
{
	struct fixture *f = *state;

	pool_open(f->pool, &f->manifest);
	park_all(f);
	assert_int_equal(claim(f, "s1", NULL), 0);
	settle(f);
	assert_int_equal(f->granted, 1);
	assert_int_equal(f->cloned, 0);
	assert_int_equal(counts(f).parked, 1);
	assert_int_equal(counts(f).coming, 0);
	assert_int_equal(counts(f).claimed, 1);
	pool_confirm(f->last);
	settle(f);
	assert_int_equal(counts(f).coming, 1);
}

static void a_slow_claimer_does_not_hold_up_the_refill(void **state)
{
	struct fixture *f = *state;
	const bool never = false;

	pool_open(f->pool, &f->manifest);
	park_all(f);
	assert_int_equal(claim(f, "s1", NULL), 0);
	(void)loop_run_until(f->loop, &never, POOL_HOLD_MS + 200);
	assert_int_equal(counts(f).coming, 1);
}

static void waits_in_order_when_empty(void **state)
{
	struct fixture *f = *state;

	pool_open(f->pool, &f->manifest);
	assert_int_equal(claim(f, "s1", NULL), 0);
	assert_int_equal(claim(f, "s2", NULL), 0);
	settle(f);
	assert_int_equal(f->granted, 0);
	vm_becomes(vms[0], VM_PARKED, "");
	settle(f);
	assert_int_equal(f->granted, 1);
	assert_string_equal(vm_sandbox_id(pool_member_vm(f->last)), "s1");
	vm_becomes(vms[1], VM_PARKED, "");
	settle(f);
	assert_string_equal(vm_sandbox_id(pool_member_vm(f->last)), "s2");
	assert_int_equal(f->cloned, 2);
}

static void one_sandbox_gets_one_machine(void **state)
{
	struct fixture *f = *state;

	pool_open(f->pool, &f->manifest);
	park_all(f);
	assert_int_equal(claim(f, "s1", NULL), 0);
	assert_int_equal(claim(f, "s1", NULL), -EEXIST);
	settle(f);
	assert_int_equal(claim(f, "s1", NULL), -EEXIST);
}

static void too_many_waiting_are_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(claim(f, "s1", NULL), 0);
	assert_int_equal(claim(f, "s2", NULL), 0);
	assert_int_equal(claim(f, "s3", NULL), 0);
	assert_int_equal(claim(f, "s4", NULL), -EAGAIN);
}

static void a_dead_parked_machine_is_replaced(void **state)
{
	struct fixture *f = *state;

	pool_open(f->pool, &f->manifest);
	park_all(f);
	vm_becomes(vms[0], VM_GONE, "killed");
	vms[0] = NULL;
	settle(f);
	assert_int_equal(counts(f).parked, 1);
	assert_int_equal(counts(f).coming, 1);
}

static void a_claim_outlives_a_bad_machine(void **state)
{
	struct fixture *f = *state;

	pool_open(f->pool, &f->manifest);
	park_all(f);
	vms[0]->claim_fails = true;
	assert_int_equal(claim(f, "s1", NULL), 0);
	settle(f);
	vms[0] = NULL;
	assert_int_equal(f->granted, 1);
	assert_int_equal(f->failed, 0);
	assert_ptr_equal(pool_member_vm(f->last), vms[1]);
}

static void an_unconfirmed_claim_goes_with_its_connection(void **state)
{
	struct fixture *f = *state;
	struct ttrpc_conn *conn = (void *)f; /* only compared */

	pool_open(f->pool, &f->manifest);
	park_all(f);
	assert_int_equal(claim(f, "s1", NULL), 0);
	settle(f);
	pool_member_bind(f->last, conn);
	pool_conn_ended(f->pool, conn);
	settle(f);
	vms[0] = NULL;
	assert_int_equal(counts(f).claimed, 0);
	assert_int_equal(vms_freed, 1);
}

static void a_confirmed_claim_stays(void **state)
{
	struct fixture *f = *state;
	struct ttrpc_conn *conn = (void *)f;

	pool_open(f->pool, &f->manifest);
	park_all(f);
	assert_int_equal(claim(f, "s1", NULL), 0);
	settle(f);
	pool_member_bind(f->last, conn);
	vm_confirm(pool_member_vm(f->last));
	pool_conn_ended(f->pool, conn);
	settle(f);
	assert_int_equal(counts(f).claimed, 1);
}

static void a_cancelled_claim_gets_nothing(void **state)
{
	struct fixture *f = *state;
	struct pool_ticket *waiting = NULL, *served = NULL;

	assert_int_equal(claim(f, "s1", &waiting), 0);
	pool_cancel(waiting);
	pool_open(f->pool, &f->manifest);
	park_all(f);
	assert_int_equal(claim(f, "s2", &served), 0);
	pool_cancel(served);
	settle(f);
	vms[0] = NULL;
	assert_int_equal(f->granted + f->failed, 0);
	assert_int_equal(counts(f).claimed, 0);
}

static void failing_clones_back_off_and_are_told(void **state)
{
	struct fixture *f = *state;

	clones_refused = 1;
	pool_open(f->pool, &f->manifest);
	settle(f);
	assert_int_equal(counts(f).coming, 0);
	assert_string_equal(pool_failure(f->pool), "no QEMU today");
	assert_int_equal(claim(f, "s1", NULL), 0);
	settle(f);
	assert_int_equal(f->failed, 0);
	/* The second try comes after the back-off of a second, and brings machines again. */
	const bool never = false;
	(void)loop_run_until(f->loop, &never, 2500);
	park_all(f);
	assert_int_equal(f->granted, 1);
	assert_null(pool_failure(f->pool));
}

static void count_call(void *userdata)
{
	++*(unsigned *)userdata;
}

static void drain_destroys_all_but_the_claimed(void **state)
{
	struct fixture *f = *state;
	unsigned drained = 0;

	pool_open(f->pool, &f->manifest);
	park_all(f);
	assert_int_equal(claim(f, "s1", NULL), 0);
	settle(f);
	pool_drain(f->pool, "the end", count_call, &drained);
	settle(f);
	assert_int_equal(drained, 1);
	struct pool_counts c = counts(f);
	assert_int_equal(c.parked + c.coming, 0);
	assert_int_equal(c.claimed, 1);
}

static void drain_tells_the_waiting(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(claim(f, "s1", NULL), 0);
	pool_drain(f->pool, "the end", NULL, NULL);
	settle(f);
	assert_int_equal(f->failed, 1);
	assert_non_null(strstr(f->error, "the end"));
}

static void another_template_replaces_the_parked(void **state)
{
	struct fixture *f = *state;
	struct template_manifest other = { .id = "template-b" };

	pool_open(f->pool, &f->manifest);
	park_all(f);
	pool_open(f->pool, &other);
	settle(f);
	vms[0] = vms[1] = NULL;
	assert_int_equal(counts(f).parked, 0);
	assert_int_equal(counts(f).coming, 2);
	park_all(f);
	assert_string_equal(vm_template_id(vms[2]), "template-b");
}

static void release_tells_when_it_is_over(void **state)
{
	struct fixture *f = *state;
	unsigned released = 0;

	pool_open(f->pool, &f->manifest);
	park_all(f);
	assert_int_equal(claim(f, "s1", NULL), 0);
	settle(f);
	assert_int_equal(pool_release(f->last, "released", count_call, &released), 0);
	assert_int_equal(pool_release(f->last, "released", count_call, &released), -EBUSY);
	assert_int_equal(released, 0);
	settle(f);
	assert_int_equal(released, 1);
	assert_int_equal(counts(f).claimed, 0);
}

#define POOL_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		POOL_TEST(fills_to_its_target),
		POOL_TEST(serves_from_the_pool_and_refills),
		POOL_TEST(a_slow_claimer_does_not_hold_up_the_refill),
		POOL_TEST(waits_in_order_when_empty),
		POOL_TEST(one_sandbox_gets_one_machine),
		POOL_TEST(too_many_waiting_are_refused),
		POOL_TEST(a_dead_parked_machine_is_replaced),
		POOL_TEST(a_claim_outlives_a_bad_machine),
		POOL_TEST(an_unconfirmed_claim_goes_with_its_connection),
		POOL_TEST(a_confirmed_claim_stays),
		POOL_TEST(a_cancelled_claim_gets_nothing),
		POOL_TEST(failing_clones_back_off_and_are_told),
		POOL_TEST(drain_destroys_all_but_the_claimed),
		POOL_TEST(drain_tells_the_waiting),
		POOL_TEST(another_template_replaces_the_parked),
		POOL_TEST(release_tells_when_it_is_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
