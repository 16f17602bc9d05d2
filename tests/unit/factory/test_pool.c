/* Claims, refills, ends: what every pool does. What a policy adds is in test_pool_policy.c. */
#include "tests/unit/factory/pool_fixture.h"
#include "tests/unit/state_table.h"

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

static void nothing_is_begun_while_a_machine_resumes(void **state)
{
	struct fixture *f = *state;

	pool_open(f->pool, &f->manifest);
	park_all(f);
	vms[0]->claim_hangs = true;
	assert_int_equal(claim(f, "s1", NULL), 0);
	settle(f);
	assert_int_equal(f->granted, 0);
	assert_int_equal(counts(f).coming, 0);
}

static void a_slow_claimer_does_not_hold_up_the_refill(void **state)
{
	struct fixture *f = *state;

	pool_open(f->pool, &f->manifest);
	park_all(f);
	assert_int_equal(claim(f, "s1", NULL), 0);
	settle(f);
	assert_int_equal(counts(f).coming, 0);
	advance(f, POOL_HOLD_MS);
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
	advance(f, 1000);
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
	pool_close(f->pool, "the end", count_call, &drained);
	settle(f);
	assert_int_equal(drained, 1);
	struct pool_counts c = counts(f);
	assert_int_equal(c.parked + c.coming, 0);
	assert_int_equal(c.claimed, 1);
}

static void the_end_waits_for_a_hand_over(void **state)
{
	struct fixture *f = *state;
	struct ttrpc_conn *conn = (void *)f;
	unsigned stopped = 0;

	pool_open(f->pool, &f->manifest);
	park_all(f);
	assert_int_equal(claim(f, "s1", NULL), 0);
	pool_stop(f->pool, "the end", count_call, &stopped);
	settle(f);
	assert_int_equal(f->granted, 1);
	assert_int_equal(vms_freed, 1);
	pool_member_bind(f->last, conn);
	pool_stop(f->pool, "the end", count_call, &stopped);
	settle(f);
	assert_int_equal(stopped, 1); /* before it was bound: nobody was there to confirm */
	pool_confirm(f->last);
	settle(f);
	assert_int_equal(stopped, 2);
}

/* On a host that has just been restarted many do not answer in time: that says nothing of clones.
 */
static void an_adopted_machine_that_is_lost_is_no_clone_that_failed(void **state)
{
	const struct journal_entry entry = { .id = (char *)"adopted", .state = VM_PARKED };
	struct fixture *f = *state;

	pool_adopt(f->pool, &entry, &f->manifest);
	assert_int_equal(counts(f).coming, 1);
	pool_open(f->pool, &f->manifest);
	vms[0]->state = VM_WARMING;
	vm_becomes(vms[0], VM_GONE, "no answer");
	settle(f);
	assert_null(pool_failure(f->pool));
	assert_int_equal(counted(f, COUNTER_PARKED_LOST, ""), 1);
	assert_int_equal(counts(f).coming, 2);
}

static void drain_tells_the_waiting(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(claim(f, "s1", NULL), 0);
	pool_close(f->pool, "the end", NULL, NULL);
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

static void members_go_from_state_to_state(void **state _unused_)
{
	assert_states(&member_states, "new: coming spare claimed booting ending\n"
				      "coming: parked ending left\n"
				      "parked: claimed ending left\n"
				      "spare: coming ending left\n"
				      "claimed: ending left\n"
				      "booting: claimed ending left\n"
				      "ending: left\n"
				      "left:\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		POOL_TEST(fills_to_its_target),
		cmocka_unit_test(members_go_from_state_to_state),
		POOL_TEST(serves_from_the_pool_and_refills),
		POOL_TEST(nothing_is_begun_while_a_machine_resumes),
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
		POOL_TEST(the_end_waits_for_a_hand_over),
		POOL_TEST(an_adopted_machine_that_is_lost_is_no_clone_that_failed),
		POOL_TEST(drain_tells_the_waiting),
		POOL_TEST(another_template_replaces_the_parked),
		POOL_TEST(release_tells_when_it_is_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
