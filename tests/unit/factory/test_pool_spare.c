/* Spares: when they are made and used, and to whom they give way. */
#include "tests/unit/factory/pool_fixture.h"

static void set_policy(struct fixture *f, uint64_t target, uint64_t spares)
{
	pool_set_policy(f->pool, &(const struct pool_policy){ .target = target, .spares = spares });
}

static void spare_comes_up(struct vm *vm)
{
	vm_becomes(vm, VM_RESTORED, "");
	vm_becomes(vm, VM_WARMING, "");
}

/* Each spare that is begun comes up and rests. */
static void spares_come(struct fixture *f)
{
	settle(f);
	for (unsigned i = 0; i < vms_made; i++) {
		if (vms[i] && vms[i]->options.spare && vms[i]->state == VM_SPAWNED) {
			spare_comes_up(vms[i]);
			vm_becomes(vms[i], VM_SPARE, "");
		}
		settle(f);
	}
}

static unsigned spares_begun(struct fixture *f)
{
	return members_count(f->pool, MEMBER_SPARE);
}

static void open_with(struct fixture *f, uint64_t target, uint64_t spares)
{
	set_policy(f, target, spares);
	pool_open(f->pool, &f->manifest);
	park_all(f);
	spares_come(f);
}

static void come_last_and_one_by_one(void **state)
{
	struct fixture *f = *state;

	set_policy(f, 2, 2);
	pool_open(f->pool, &f->manifest);
	settle(f);
	assert_int_equal(vms_made, 2);
	assert_int_equal(spares_begun(f), 0);
	park_all(f);
	assert_int_equal(spares_begun(f), 1);
	assert_int_equal(counts(f).spares, 0);
	assert_int_equal(counts(f).coming, 1);
	pool_set_limits(f->pool, 2, 3); /* a look at what is to be made */
	settle(f);
	assert_int_equal(spares_begun(f), 1);
	spares_come(f);
	assert_int_equal(counts(f).spares, 2);
	assert_int_equal(counts(f).spares_target, 2);
	assert_int_equal(counts(f).coming, 0);
	assert_int_equal(vms_made, 4);
	assert_int_equal(f->room.vms, 2);
	assert_int_equal(f->room.spares, 2);
}

static void the_next_clone_takes_one(void **state)
{
	struct fixture *f = *state;

	open_with(f, 0, 1);
	assert_int_equal(claim(f, "s1", NULL), 0);
	settle(f);
	assert_int_equal(vms_made, 1);
	assert_int_equal(counts(f).spares, 0);
	assert_int_equal(counts(f).coming, 1);
	assert_int_equal(f->room.vms, 1);
	assert_int_equal(f->room.spares, 0);
	park_all(f);
	assert_int_equal(f->granted, 1);
	assert_ptr_equal(pool_member_vm(f->last), vms[0]);
	/* The next one waits until the claimer has its sandbox. */
	assert_int_equal(vms_made, 1);
	pool_confirm(f->last);
	spares_come(f);
	assert_int_equal(counts(f).spares, 1);
}

static void one_that_starts_is_taken_too(void **state)
{
	struct fixture *f = *state;

	set_policy(f, 0, 1);
	pool_open(f->pool, &f->manifest);
	settle(f);
	assert_int_equal(claim(f, "s1", NULL), 0);
	park_all(f);
	assert_int_equal(f->granted, 1);
	assert_int_equal(vms_made, 1);
}

static void a_refill_takes_them_first(void **state)
{
	struct fixture *f = *state;

	open_with(f, 1, 1);
	assert_int_equal(claim(f, "s1", NULL), 0);
	settle(f);
	pool_confirm(f->last);
	settle(f);
	assert_int_equal(vms_made, 2);
	assert_int_equal(counts(f).coming, 1);
	assert_int_equal(spares_begun(f), 0);
}

static void what_dies_is_made_again_after_a_while(void **state)
{
	struct fixture *f = *state;

	open_with(f, 1, 1);
	vm_becomes(vms[1], VM_GONE, "killed");
	settle(f);
	assert_int_equal(spares_begun(f), 0);
	assert_int_equal(f->room.spares, 0);
	assert_int_equal(counted(f, COUNTER_CLONES_FAILED, "spare"), 1);
	/* Nothing is held against the template. */
	assert_null(pool_failure(f->pool));
	advance(f, 1000);
	spares_come(f);
	assert_int_equal(counts(f).spares, 1);
	/* The second time it takes longer. */
	vm_becomes(vms[2], VM_GONE, "killed");
	advance(f, 1000);
	assert_int_equal(spares_begun(f), 0);
	advance(f, 1000);
	assert_int_equal(spares_begun(f), 1);
}

static void a_hung_one_is_found(void **state)
{
	struct fixture *f = *state;
	struct pool_policy policy = { .spares = 1, .probe_s = 30 };

	pool_set_policy(f->pool, &policy);
	pool_open(f->pool, &f->manifest);
	settle(f);
	spare_comes_up(vms[0]);
	advance(f, 30000);
	assert_int_equal(probes, 0); /* it does not rest yet */
	assert_int_equal(counts(f).spares, 0);
	assert_int_equal(counts(f).coming, 1);
	vm_becomes(vms[0], VM_SPARE, "");
	vms[0]->probe_fails = true;
	advance(f, 30000);
	assert_int_equal(probes, 1);
	assert_int_equal(spares_begun(f), 0);
	advance(f, 1000);
	assert_int_equal(spares_begun(f), 1);
}

static void claims_go_on_while_one_cannot_start(void **state)
{
	struct fixture *f = *state;

	clones_refused = 1;
	open_with(f, 0, 1);
	assert_int_equal(spares_begun(f), 0);
	assert_int_equal(claim(f, "s1", NULL), 0);
	park_all(f);
	assert_int_equal(f->granted, 1);
}

static void a_claim_gets_their_place(void **state)
{
	struct fixture *f = *state;
	struct pool_options options = default_options(f);

	/* A neighbour's spare is the last machine that there may be. */
	f->room.max_vms = 1;
	options.policy = (struct pool_policy){ .target = 0 };
	struct pool *other = pool_new(&options);
	struct fixture claimer = { .loop = f->loop, .pool = other };
	open_with(f, 0, 1);
	assert_int_equal(f->room.spares, 1);
	pool_open(other, &f->manifest);
	assert_int_equal(claim(&claimer, "s1", NULL), 0);
	settle(f);
	assert_int_equal(f->room.spares, 0);
	assert_int_equal(f->room.vms, 1);
	park_all(f);
	assert_int_equal(claimer.granted, 1);
	/* None comes where there is no place for it. */
	advance(f, 60000);
	assert_int_equal(spares_begun(f), 0);
	pool_free(other);
	settle(f);
}

static void a_claim_gets_their_memory(void **state)
{
	struct fixture *f = *state;

	open_with(f, 0, 1);
	f->room.min_free_mib = 1000;
	fake_available_mib = 990;
	assert_int_equal(claim(f, "s1", NULL), 0);
	assert_int_equal(f->room.spares, 0);
	fake_available_mib = 1010; /* as soon as it is gone */
	park_all(f);
	assert_int_equal(f->granted, 1);
	assert_int_equal(f->failed, 0);
}

static void a_claim_is_refused_where_their_memory_is_too_little(void **state)
{
	struct fixture *f = *state;

	open_with(f, 0, 1);
	f->room.min_free_mib = 1000;
	fake_available_mib = 500;
	assert_int_equal(claim(f, "s1", NULL), 0);
	settle(f);
	assert_int_equal(f->failed, 1);
	assert_non_null(strstr(f->error, "min_free_mib"));
	assert_int_equal(claim(f, "s2", NULL), -EAGAIN);
	advance(f, 60000);
	assert_int_equal(spares_begun(f), 0);
}

static void another_template_ends_them(void **state)
{
	struct fixture *f = *state;
	struct template_manifest other = { .id = "template-b" };

	open_with(f, 0, 1);
	pool_roll(f->pool, &other);
	spares_come(f);
	assert_int_equal(vms_freed, 1);
	assert_int_equal(counts(f).spares, 1);
	assert_string_equal(vm_template_id(vms[1]), "template-b");
}

static void a_smaller_policy_ends_them(void **state)
{
	struct fixture *f = *state;

	open_with(f, 1, 3);
	assert_int_equal(counts(f).spares, 3);
	set_policy(f, 1, 1);
	settle(f);
	assert_int_equal(counts(f).spares, 1);
	assert_int_equal(counts(f).parked, 1);
	f->room.max_vms = 1;
	pool_set_limits(f->pool, 2, 3);
	settle(f);
	assert_int_equal(counts(f).spares, 0);
	assert_int_equal(counts(f).parked, 1);
}

static void note_done(int number, const struct error *err _unused_, void *userdata)
{
	*(int *)userdata = number;
}

static void a_drained_pool_has_none(void **state)
{
	struct fixture *f = *state;
	int answer = 1;

	open_with(f, 0, 1);
	pool_drain(f->pool, note_done, &answer);
	assert_int_equal(answer, 1);
	settle(f);
	assert_int_equal(answer, 0);
	assert_int_equal(vms_freed, 1);
	advance(f, 60000);
	assert_int_equal(spares_begun(f), 0);
	pool_resume(f->pool);
	settle(f);
	assert_int_equal(spares_begun(f), 1);
}

static void a_paused_pool_uses_what_it_has(void **state)
{
	struct fixture *f = *state;

	open_with(f, 0, 1);
	pool_pause(f->pool);
	assert_int_equal(claim(f, "s1", NULL), 0);
	park_all(f);
	assert_int_equal(f->granted, 1);
	pool_confirm(f->last);
	settle(f);
	assert_int_equal(vms_made, 1);
}

static void note_drained(void *userdata)
{
	*(bool *)userdata = true;
}

static void the_end_of_the_pool_is_theirs(void **state)
{
	struct fixture *f = *state;
	bool drained = false;

	open_with(f, 0, 1);
	pool_close(f->pool, "the template ended", note_drained, &drained);
	assert_int_equal(vms_freed, 0);
	settle(f);
	assert_true(drained);
	assert_int_equal(vms_freed, 1);
	assert_null(pool_next(f->pool, NULL));
}

static void none_are_made_while_clones_fail(void **state)
{
	struct fixture *f = *state;

	set_policy(f, 1, 1);
	clones_refused = 1;
	pool_open(f->pool, &f->manifest);
	settle(f);
	assert_int_equal(vms_made, 0);
	advance(f, 1000);
	assert_int_equal(counts(f).coming, 1);
	assert_int_equal(spares_begun(f), 0);
	park_all(f);
	assert_int_equal(spares_begun(f), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		POOL_TEST(come_last_and_one_by_one),
		POOL_TEST(the_next_clone_takes_one),
		POOL_TEST(one_that_starts_is_taken_too),
		POOL_TEST(a_refill_takes_them_first),
		POOL_TEST(what_dies_is_made_again_after_a_while),
		POOL_TEST(a_hung_one_is_found),
		POOL_TEST(claims_go_on_while_one_cannot_start),
		POOL_TEST(a_claim_gets_their_place),
		POOL_TEST(a_claim_gets_their_memory),
		POOL_TEST(a_claim_is_refused_where_their_memory_is_too_little),
		POOL_TEST(another_template_ends_them),
		POOL_TEST(a_smaller_policy_ends_them),
		POOL_TEST(a_drained_pool_has_none),
		POOL_TEST(a_paused_pool_uses_what_it_has),
		POOL_TEST(the_end_of_the_pool_is_theirs),
		POOL_TEST(none_are_made_while_clones_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
