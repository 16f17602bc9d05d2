/* How many machines a pool keeps, when it makes and gives them up, and what an operator says. */
#include "tests/unit/factory/pool_fixture.h"

#include <unistd.h>

#include "base/file.h"
#include "tests/unit/older.h"

static struct pool_policy *policy(struct fixture *f)
{
	return &f->pool->options.policy;
}

static void open_and_fill(struct fixture *f)
{
	pool_open(f->pool, &f->manifest);
	while (counts(f).parked < counts(f).target)
		park_all(f);
}

static void claim_and_confirm(struct fixture *f, const char *sandbox)
{
	unsigned granted = f->granted;

	assert_int_equal(claim(f, sandbox, NULL), 0);
	settle(f);
	assert_int_equal(f->granted, granted + 1);
	pool_confirm(f->last);
	settle(f);
}

/* ---------------------------------------------------------------- how many at once */

static void a_refill_is_as_wide_as_its_burst(void **state)
{
	struct fixture *f = *state;

	policy(f)->target = 6;
	policy(f)->burst = 4;
	pool_open(f->pool, &f->manifest);
	settle(f);
	assert_int_equal(counts(f).coming, 4);
	park_all(f);
	assert_int_equal(counts(f).coming, 2);
	park_all(f);
	assert_int_equal(vms_made, 6);
}

static void a_narrow_burst_does_not_narrow_the_claims(void **state)
{
	struct fixture *f = *state;

	policy(f)->target = 6;
	policy(f)->burst = 1;
	pool_open(f->pool, &f->manifest);
	settle(f);
	assert_int_equal(counts(f).coming, 1);
	assert_int_equal(claim(f, "s1", NULL), 0);
	assert_int_equal(claim(f, "s2", NULL), 0);
	settle(f);
	assert_int_equal(counts(f).coming, 2);
}

static void claims_come_before_refills(void **state)
{
	struct fixture *f = *state;

	policy(f)->target = 6;
	policy(f)->burst = 4;
	assert_int_equal(claim(f, "s1", NULL), 0);
	pool_open(f->pool, &f->manifest);
	settle(f);
	assert_int_equal(counts(f).coming, 1);
	park_all(f);
	assert_int_equal(f->granted, 1);
	advance(f, POOL_HOLD_MS);
	assert_int_equal(counts(f).coming, 4);
}

static void it_never_overshoots(void **state)
{
	struct fixture *f = *state;
	struct pool_ticket *ticket = NULL;

	open_and_fill(f);
	claim_and_confirm(f, "s1");
	claim_and_confirm(f, "s2");
	/* A clone is begun for this one, which then gives up. */
	assert_int_equal(claim(f, "s3", &ticket), 0);
	settle(f);
	pool_cancel(ticket);
	for (unsigned i = 0; i < 4; i++) {
		advance(f, POOL_HOLD_MS);
		assert_true(counts(f).parked + counts(f).coming <= counts(f).target);
		park_all(f);
	}
	assert_int_equal(counts(f).parked, 2);
}

static void a_refill_begins_below_the_low_water_mark(void **state)
{
	struct fixture *f = *state;

	policy(f)->target = 4;
	policy(f)->low_water = 2;
	open_and_fill(f);
	claim_and_confirm(f, "s1");
	claim_and_confirm(f, "s2");
	assert_int_equal(counts(f).parked, 2);
	assert_int_equal(counts(f).coming, 0);
	claim_and_confirm(f, "s3");
	assert_int_equal(counts(f).coming, 2);
	park_all(f);
	park_all(f);
	assert_int_equal(counts(f).parked, 4);
}

static void a_target_of_nothing_clones_for_each_claim(void **state)
{
	struct fixture *f = *state;

	policy(f)->target = 0;
	pool_open(f->pool, &f->manifest);
	settle(f);
	assert_int_equal(vms_made, 0);
	assert_int_equal(claim(f, "s1", NULL), 0);
	park_all(f);
	assert_string_equal(f->reason, "the pool keeps no machines");
}

/* ---------------------------------------------------------------- auto */

static void auto_follows_the_claims(void **state)
{
	struct fixture *f = *state;

	f->room.max_vms = 60;
	policy(f)->automatic = true;
	f->pool->rate.make_s = 2;
	pool_open(f->pool, &f->manifest);
	park_all(f);
	assert_int_equal(counts(f).target, 1);
	/* A claim a second, for a while. */
	for (unsigned i = 0; i < 20; i++) {
		char sandbox[8];
		snprintf(sandbox, sizeof(sandbox), "s%u", i);
		assert_int_equal(claim(f, sandbox, NULL), 0);
		advance(f, 1000);
		park_all(f);
		pool_confirm(f->last);
		f->pool->rate.make_s = 2;
	}
	assert_true(counts(f).target >= 3);
	assert_true(counts(f).claims_per_s > 0.15);
	/* Then none: the target falls to the minimum, one machine at a time. */
	for (unsigned i = 0; i < 100; i++) {
		advance(f, 10000);
		park_all(f);
	}
	assert_int_equal(counts(f).target, 1);
	assert_int_equal(counts(f).parked, 1);
	assert_true(counted(f, COUNTER_PARKED_ENDED, "more than the target") > 0);
}

static void the_rate_settles_at_a_steady_stream(void **state _unused_)
{
	struct pool_rate rate = {};
	uint64_t now = 1;

	for (unsigned i = 0; i < 6000; i++, now += 100000000)
		pool_rate_claimed(&rate, now);
	assert_true(pool_rate_per_s(&rate, now) > 9.5 && pool_rate_per_s(&rate, now) < 10.5);
	double at_end = pool_rate_per_s(&rate, now);
	now += 60000000000;
	double later = pool_rate_per_s(&rate, now);
	assert_true(later > 0.49 * at_end && later < 0.51 * at_end);
}

static void the_target_stays_within_its_bounds(void **state _unused_)
{
	struct pool_rate rate = { .per_s = 4, .at_ns = 1, .make_s = 0.5 };

	/* m = 2: 1.5 * 2 + 3 * sqrt(2) = 7.2 */
	assert_int_equal(pool_rate_target(&rate, 1, 0, 100), 8);
	assert_int_equal(pool_rate_target(&rate, 1, 0, 5), 5);
	assert_int_equal(pool_rate_target(&rate, 1, 12, 100), 12);
	rate.per_s = 1e300;
	assert_int_equal(pool_rate_target(&rate, 1, 0, 100), 100);
	rate.per_s = 0;
	assert_int_equal(pool_rate_target(&rate, 1, 0, 100), 0);
}

static void the_time_to_make_a_clone_is_a_moving_mean(void **state _unused_)
{
	struct pool_rate rate = {};

	pool_rate_made(&rate, 2000000000);
	assert_true(rate.make_s == 2);
	pool_rate_made(&rate, 4000000000);
	assert_true(rate.make_s == 2.5);
}

/* ---------------------------------------------------------------- age, templates */

static void the_old_go_one_at_a_time_when_a_fresh_one_has_parked(void **state)
{
	struct fixture *f = *state;

	policy(f)->max_age_s = 60;
	open_and_fill(f);
	advance(f, 59000);
	assert_int_equal(vms_made, 2);
	advance(f, 1001);
	assert_int_equal(counts(f).parked, 2);
	assert_int_equal(counts(f).coming, 1);
	park_all(f);
	assert_int_equal(counted(f, COUNTER_PARKED_ENDED, "too old"), 1);
	assert_int_equal(counts(f).parked, 2);
	park_all(f);
	assert_int_equal(counted(f, COUNTER_PARKED_ENDED, "too old"), 2);
	assert_int_equal(counts(f).parked, 2);
	settle(f);
	assert_int_equal(counts(f).coming, 0);
	assert_int_equal(vms_made, 4);
}

static unsigned count_others(struct pool *pool, const char *template_id)
{
	unsigned count = 0;

	for (struct pool_member *m = pool_next(pool, NULL); m; m = pool_next(pool, m))
		count += !str_equal(vm_template_id(pool_member_vm(m)), template_id);
	return count;
}

static void a_rolling_change_never_empties_the_pool(void **state)
{
	struct fixture *f = *state;
	struct template_manifest other = { .id = "template-b" };

	open_and_fill(f);
	pool_roll(f->pool, &other);
	settle(f);
	assert_int_equal(counts(f).parked, 2);
	assert_int_equal(count_others(f->pool, other.id), 2);
	for (unsigned i = 0; i < 3; i++) {
		park_all(f);
		assert_int_equal(counts(f).parked, 2);
	}
	assert_int_equal(count_others(f->pool, other.id), 0);
	assert_int_equal(vms_made, 4);
}

static void what_keeps_the_old_machines_is_told(void **state)
{
	struct template_manifest other = { .id = "template-b" };
	struct fixture *f = *state;

	open_and_fill(f);
	pool_pause(f->pool);
	pool_roll(f->pool, &other);
	settle(f);
	assert_string_equal(pool_roll_obstacle(f->pool), "it is paused");
	clones_refused = POOL_FAILURES_MAX;
	pool_resume(f->pool);
	settle(f);
	assert_null(pool_roll_obstacle(f->pool));
	while (clones_refused > 0)
		advance(f, POOL_BROKEN_RETRY_MS);
	assert_string_equal(pool_roll_obstacle(f->pool), "no QEMU today");
	advance(f, POOL_BROKEN_RETRY_MS);
	park_all(f);
	assert_null(pool_roll_obstacle(f->pool));
}

/* Where there are two, one of them goes first. */
static void the_last_old_machine_stays_where_there_is_no_room(void **state)
{
	struct template_manifest other = { .id = "template-b" };
	struct fixture *f = *state;

	policy(f)->target = 1;
	f->room.max_vms = 1;
	open_and_fill(f);
	pool_roll(f->pool, &other);
	settle(f);
	assert_non_null(strstr(pool_roll_obstacle(f->pool), "max_vms"));
	f->room.max_vms = 2;
	advance(f, 1000);
	park_all(f);
	assert_null(pool_roll_obstacle(f->pool));
	assert_int_equal(count_others(f->pool, other.id), 0);
}

/* A claim was accepted for what the new template's machines can grow to. */
static void a_rolling_change_serves_no_claim_that_is_too_large_by_the_old(void **state)
{
	const struct pool_request large = { .sandbox_id = "large", .size = { 1, 2048 } };
	struct template_manifest other = { .id = "template-large" };
	struct fixture *f = *state;

	open_and_fill(f);
	pool_roll(f->pool, &other);
	assert_int_equal(claim(f, "small", NULL), 0);
	settle(f);
	assert_int_equal(f->granted, 1);
	assert_string_equal(vm_template_id(f->last->vm), "template-a");
	assert_int_equal(claim_request(f, &large, NULL), 0);
	while (f->granted < 2)
		park_all(f);
	assert_string_equal(vm_template_id(f->last->vm), other.id);
	assert_string_equal(f->reason, "the parked machine was too small");
	assert_int_equal(f->failed, 0);
}

static void the_old_give_their_room_where_there_is_no_other(void **state)
{
	struct fixture *f = *state;

	f->room.max_vms = 2;
	policy(f)->max_age_s = 60;
	open_and_fill(f);
	advance(f, 60001);
	assert_int_equal(counts(f).parked, 1);
	assert_int_equal(counts(f).coming, 1);
	for (unsigned i = 0; i < 4; i++)
		park_all(f);
	assert_int_equal(counted(f, COUNTER_PARKED_ENDED, "too old"), 2);
	assert_int_equal(counts(f).parked, 2);
	assert_int_equal(vms_made, 4);
}

/* ---------------------------------------------------------------- probes */

static void a_machine_that_fails_its_probe_is_replaced(void **state)
{
	struct fixture *f = *state;

	policy(f)->probe_s = 30;
	open_and_fill(f);
	advance(f, 30000);
	assert_int_equal(probes, 2);
	assert_int_equal(counts(f).parked, 2);
	vms[1]->probe_fails = true;
	advance(f, 30000);
	assert_int_equal(counts(f).parked, 1);
	assert_int_equal(counts(f).coming, 1);
	assert_int_equal(counted(f, COUNTER_PARKED_LOST, "probe"), 1);
	assert_null(vms[1]);
}

static void one_being_probed_may_be_claimed(void **state)
{
	struct fixture *f = *state;

	policy(f)->probe_s = 30;
	open_and_fill(f);
	vms[0]->probe_hangs = true;
	advance(f, 30000);
	claim_and_confirm(f, "s1");
	assert_ptr_equal(pool_member_vm(f->last), vms[0]);
	probe_answer(vms[0]);
	assert_int_equal(counted(f, COUNTER_PARKED_LOST, "probe"), 0);
	/* One whose answer is awaited is not asked again. */
	vms[1]->probe_hangs = true;
	advance(f, 30000);
	unsigned asked = probes;
	advance(f, 30000);
	assert_int_equal(probes, asked);
}

static void without_an_interval_nothing_is_probed(void **state)
{
	struct fixture *f = *state;

	open_and_fill(f);
	advance(f, 3600000);
	assert_int_equal(probes, 0);
}

/* ---------------------------------------------------------------- failures */

static void a_template_that_keeps_failing_is_broken(void **state)
{
	struct fixture *f = *state;

	clones_refused = 1000;
	pool_open(f->pool, &f->manifest);
	settle(f);
	assert_int_equal(claim(f, "s1", NULL), 0);
	for (unsigned i = 1, wait = 1000; i < POOL_FAILURES_MAX; i++, wait *= 2) {
		assert_false(pool_is_broken(f->pool));
		assert_int_equal(f->failed, 0);
		advance(f, wait - 1);
		assert_int_equal(f->pool->failures, i);
		advance(f, 1);
		assert_int_equal(f->pool->failures, i + 1);
	}
	assert_true(pool_is_broken(f->pool));
	assert_string_equal(pool_failure(f->pool), "no QEMU today");
	assert_int_equal(f->failed, 1);
	assert_int_equal(claim(f, "s2", NULL), -ENOTCONN);
	assert_non_null(strstr(f->error, "no QEMU today"));
	assert_int_equal(counted(f, COUNTER_CLAIMS_FAILED, "broken"), 2);

	/* It is tried again on a schedule, and recovers. */
	clones_refused = 0;
	advance(f, POOL_BROKEN_RETRY_MS - 1);
	assert_int_equal(counts(f).coming, 0);
	advance(f, 1);
	assert_int_equal(counts(f).coming, 1);
	park_all(f);
	assert_false(pool_is_broken(f->pool));
	assert_null(pool_failure(f->pool));
	assert_int_equal(claim(f, "s3", NULL), 0);
}

/* ---------------------------------------------------------------- the host's room */

static void short_of_memory_nothing_is_made_and_claims_are_told(void **state)
{
	struct fixture *f = *state;

	f->room.min_free_mib = 1000;
	open_and_fill(f);
	fake_available_mib = 999;
	claim_and_confirm(f, "s1");
	claim_and_confirm(f, "s2");
	assert_int_equal(counts(f).coming, 0);
	assert_int_equal(counted(f, COUNTER_REFILLS_HELD, "min_free_mib"), 1);
	assert_non_null(pool_obstacle(f->pool));
	assert_int_equal(claim(f, "s3", NULL), -EAGAIN);
	assert_non_null(strstr(f->error, "min_free_mib"));
	assert_int_equal(counted(f, COUNTER_CLAIMS_FAILED, "min_free_mib"), 1);
	/* It is looked at again by itself. */
	fake_available_mib = 1000;
	advance(f, 1000);
	assert_int_equal(counts(f).coming, 2);
	assert_null(pool_obstacle(f->pool));
}

static void those_who_wait_are_told_when_the_memory_goes(void **state)
{
	struct fixture *f = *state;

	f->room.min_free_mib = 1000;
	assert_int_equal(claim(f, "s1", NULL), 0);
	assert_int_equal(claim_as(f, "s2", CLAIM_HIGH, NULL), 0);
	fake_available_mib = 10;
	pool_open(f->pool, &f->manifest);
	settle(f);
	assert_int_equal(f->failed, 2);
}

static void claims_come_before_the_refills_of_other_pools(void **state)
{
	struct fixture *f = *state;
	struct pool_options options = default_options(f);
	struct pool *other = pool_new(&options);
	struct pool_counts others;

	pool_set_limits(f->pool, 1, 3);
	pool_open(f->pool, &f->manifest);
	assert_int_equal(claim(f, "s1", NULL), 0);
	assert_int_equal(claim(f, "s2", NULL), 0);
	settle(f);
	assert_int_equal(counts(f).coming, 1);
	pool_open(other, &f->manifest);
	settle(f);
	pool_counts(other, &others);
	assert_int_equal(others.coming, 0);
	vm_becomes(vms[0], VM_PARKED, "");
	settle(f);
	pool_counts(other, &others);
	assert_int_equal(f->granted, 1);
	assert_int_equal(counts(f).coming, 1);
	/* Nobody waits for more than is coming; the refills together keep to the bound. */
	assert_int_equal(others.coming, 1);
	pool_free(other);
	settle(f);
	assert_int_equal(f->room.coming, 1);
	assert_int_equal(f->room.lacking, 0);
}

/* A pool whose clones fail waits for its turn; claims of another do not wait for it. */
static void a_failing_pool_holds_up_no_other(void **state)
{
	struct fixture *f = *state;
	struct pool_options options = default_options(f);
	struct pool *other = pool_new(&options);
	struct pool_counts others;

	clones_refused = 1;
	pool_open(f->pool, &f->manifest);
	assert_int_equal(claim(f, "s1", NULL), 0);
	settle(f);
	assert_int_equal(counts(f).coming, 0);
	pool_open(other, &f->manifest);
	settle(f);
	pool_counts(other, &others);
	assert_int_equal(others.coming, 2);
	pool_free(other);
}

static void all_pools_share_the_room(void **state)
{
	struct fixture *f = *state;
	struct pool_options options = default_options(f);
	struct pool *other = pool_new(&options);

	f->room.max_vms = 3;
	open_and_fill(f);
	pool_open(other, &f->manifest);
	settle(f);
	assert_int_equal(f->room.vms, 3);
	assert_int_equal(vms_made, 3);
	claim_and_confirm(f, "s1");
	claim_and_confirm(f, "s2");
	assert_int_equal(claim(f, "s3", NULL), -EAGAIN);
	assert_int_equal(counted(f, COUNTER_CLAIMS_FAILED, "max_vms"), 1);
	pool_free(other); /* what it had is free for the other's refill */
	settle(f);
	assert_int_equal(f->room.vms, 3);
	assert_int_equal(counts(f).coming, 1);
	assert_int_equal(claim(f, "s3", NULL), 0);
}

/* ---------------------------------------------------------------- priorities */

static void claims_are_served_by_priority_then_arrival(void **state)
{
	struct fixture *f = *state;

	f->pool->options.max_waiting = 10;
	assert_int_equal(claim_as(f, "n1", CLAIM_NORMAL, NULL), 0);
	assert_int_equal(claim_as(f, "h1", CLAIM_HIGH, NULL), 0);
	assert_int_equal(claim_as(f, "n2", CLAIM_NORMAL, NULL), 0);
	assert_int_equal(claim_as(f, "s1", CLAIM_SYSTEM, NULL), 0);
	assert_int_equal(claim_as(f, "h2", CLAIM_HIGH, NULL), 0);
	pool_open(f->pool, &f->manifest);
	while (f->granted < 5)
		park_all(f);
	assert_string_equal(f->order, "s1 h1 h2 n1 n2 ");
}

static void one_that_met_a_bad_machine_stays_first(void **state)
{
	struct fixture *f = *state;

	policy(f)->target = 1;
	open_and_fill(f);
	vms[0]->claim_fails = true;
	assert_int_equal(claim(f, "s1", NULL), 0);
	assert_int_equal(claim(f, "s2", NULL), 0);
	while (f->granted < 2)
		park_all(f);
	assert_string_equal(f->order, "s1 s2 ");
	assert_int_equal(f->cloned, 2);
	assert_int_equal(counted(f, COUNTER_CLAIMS_CLONED, "the parked machine was bad"), 1);
	assert_int_equal(counted(f, COUNTER_CLAIMS_CLONED, "the pool was empty"), 1);
}

/* ---------------------------------------------------------------- an operator */

static void on_done(int number, const struct error *err _unused_, void *userdata)
{
	*(int *)userdata = number;
}

static int warm(struct fixture *f, unsigned count, int *ret_done)
{
	_cleanup_(error_done) struct error err = {};

	*ret_done = 1;
	return pool_warm(f->pool, count, on_done, ret_done, &err);
}

static void a_paused_pool_serves_and_is_not_refilled(void **state)
{
	struct fixture *f = *state;

	open_and_fill(f);
	pool_pause(f->pool);
	claim_and_confirm(f, "s1");
	claim_and_confirm(f, "s2");
	assert_int_equal(f->cloned, 0);
	assert_int_equal(vms_made, 2);
	assert_int_equal(claim(f, "s3", NULL), 0);
	park_all(f);
	assert_string_equal(f->reason, "the pool is paused");
	advance(f, POOL_HOLD_MS);
	assert_int_equal(counts(f).parked + counts(f).coming, 0);
	pool_resume(f->pool);
	settle(f);
	assert_int_equal(counts(f).coming, 2);
}

static void what_is_on_its_way_counts_where_nothing_more_is_made(void **state)
{
	struct fixture *f = *state;

	pool_open(f->pool, &f->manifest);
	settle(f);
	pool_pause(f->pool);
	assert_int_equal(counts(f).coming, 2);
	assert_null(pool_shortfall(f->pool, 2));
	assert_string_equal(pool_shortfall(f->pool, 3), "it is paused");
	/* One of them is for a claim. */
	assert_int_equal(claim(f, "s1", NULL), 0);
	assert_null(pool_shortfall(f->pool, 1));
	assert_string_equal(pool_shortfall(f->pool, 2), "it is paused");
	park_all(f);
	pool_confirm(f->last);
	settle(f);
	assert_int_equal(counts(f).parked, 1);
	assert_null(pool_shortfall(f->pool, 1));
	assert_string_equal(pool_shortfall(f->pool, 2), "it is paused");
}

static void a_drained_pool_is_empty_until_it_is_resumed(void **state)
{
	struct fixture *f = *state;
	int done = 1;

	open_and_fill(f);
	pool_drain(f->pool, on_done, &done);
	assert_int_equal(claim(f, "s1", NULL), 0);
	settle(f);
	assert_int_equal(done, 0);
	assert_int_equal(counted(f, COUNTER_PARKED_ENDED, "drained"), 2);
	park_all(f);
	assert_string_equal(f->reason, "the pool was being drained");
	pool_confirm(f->last);
	assert_int_equal(claim(f, "s2", NULL), 0);
	park_all(f);
	assert_string_equal(f->reason, "the pool is drained");
	pool_pause(f->pool);
	assert_int_equal(pool_mode(f->pool), POOL_DRAINED);
	pool_resume(f->pool);
	advance(f, POOL_HOLD_MS);
	assert_int_equal(counts(f).coming, 2);
}

static void a_lower_target_takes_effect_at_once(void **state)
{
	struct fixture *f = *state;
	const struct pool_policy lower = { .target = 1 };

	open_and_fill(f);
	assert_int_equal(counts(f).parked, 2);
	pool_set_policy(f->pool, &lower);
	settle(f);
	assert_int_equal(counts(f).parked, 1);
	assert_int_equal(counted(f, COUNTER_PARKED_ENDED, "more than the target"), 1);
}

/* The next factory's pool begins where this one's ended. */
static void what_was_asked_is_kept(void **state)
{
	struct fixture *f = *state;
	struct pool_options options = default_options(f);
	char path[] = "/tmp/kiln-test-word-XXXXXX";
	struct pool *pool;
	int done = 1;

	close(mkstemp(path));
	assert_int_equal(path_remove(path, NULL), 0);
	options.word = path;
	pool = pool_new(&options);
	pool_open(pool, &f->manifest);
	pool_pause(pool);
	settle(f);
	pool_stop(pool, "the end", NULL, NULL);
	settle(f);
	pool_free(pool);
	pool = pool_new(&options);
	assert_int_equal(pool_mode(pool), POOL_PAUSED);
	pool_resume(pool);
	settle(f);
	assert_false(path_exists(path));
	pool_open(pool, &f->manifest);
	assert_int_equal(pool_warm(pool, 3, on_done, &done, NULL), 0);
	settle(f);
	pool_give_up(pool, "its bake failed");
	settle(f);
	pool_stop(pool, "the end", NULL, NULL);
	settle(f);
	pool_free(pool);
	pool = pool_new(&options);
	assert_int_equal(pool->warm, 3);
	pool_free(pool);
	assert_int_equal(file_write_atomic(path, "{\"mode\": 7}", 11, 0600, NULL), 0);
	pool = pool_new(&options);
	assert_int_equal(pool_mode(pool), POOL_RUNNING);
	pool_free(pool);
	_cleanup_free_ char *older = older_read("pool.json");
	assert_int_equal(file_write_atomic(path, older, strlen(older), 0600, NULL), 0);
	pool = pool_new(&options);
	assert_int_equal(pool_mode(pool), POOL_PAUSED);
	pool_free(pool);
	/* A later factory's. */
	static const char later[] = "{\"version\": 1, \"mode\": \"paused\", \"more\": 1}";
	assert_int_equal(file_write_atomic(path, later, strlen(later), 0600, NULL), 0);
	pool = pool_new(&options);
	assert_int_equal(pool_mode(pool), POOL_PAUSED);
	pool_free(pool);
	assert_int_equal(path_remove(path, NULL), 0);
}

static void a_drain_leaves_what_claims_wait_for(void **state)
{
	struct fixture *f = *state;
	int done = 1;

	pool_open(f->pool, &f->manifest);
	settle(f);
	assert_int_equal(claim(f, "s1", NULL), 0);
	pool_drain(f->pool, on_done, &done);
	settle(f);
	assert_int_equal(counts(f).coming, 1);
	park_all(f);
	assert_int_equal(f->granted, 1);
	assert_int_equal(counts(f).parked, 0);
}

static void warming_lasts_until_they_are_claimed(void **state)
{
	struct fixture *f = *state;
	int done;

	open_and_fill(f);
	assert_int_equal(warm(f, 5, &done), 0);
	while (done == 1)
		park_all(f);
	assert_int_equal(done, 0);
	assert_int_equal(counts(f).parked, 5);
	claim_and_confirm(f, "s1");
	claim_and_confirm(f, "s2");
	assert_int_equal(counts(f).parked, 3);
	assert_int_equal(counts(f).coming, 0);
	claim_and_confirm(f, "s3");
	claim_and_confirm(f, "s4");
	assert_int_equal(counts(f).target, 2);
	assert_int_equal(counts(f).coming, 1);
}

static void warming_is_refused_where_it_cannot_be(void **state)
{
	struct fixture *f = *state;
	int done;

	assert_int_equal(warm(f, 3, &done), -EBUSY); /* no template */
	open_and_fill(f);
	assert_int_equal(warm(f, 0, &done), -EINVAL);
	assert_int_equal(warm(f, 9, &done), -EAGAIN);
	pool_pause(f->pool);
	assert_int_equal(warm(f, 3, &done), -EBUSY);
	pool_resume(f->pool);
	assert_int_equal(warm(f, 3, &done), 0);
	pool_pause(f->pool);
	assert_int_equal(done, -ECANCELED);
	pool_resume(f->pool);
	assert_int_equal(warm(f, 3, &done), 0);
	clones_refused = 1;
	for (unsigned i = 0; i < 10 && done == 1; i++)
		settle(f);
	assert_true(done <= 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		POOL_TEST(a_refill_is_as_wide_as_its_burst),
		POOL_TEST(a_narrow_burst_does_not_narrow_the_claims),
		POOL_TEST(claims_come_before_refills),
		POOL_TEST(it_never_overshoots),
		POOL_TEST(a_refill_begins_below_the_low_water_mark),
		POOL_TEST(a_target_of_nothing_clones_for_each_claim),
		POOL_TEST(auto_follows_the_claims),
		cmocka_unit_test(the_rate_settles_at_a_steady_stream),
		cmocka_unit_test(the_target_stays_within_its_bounds),
		cmocka_unit_test(the_time_to_make_a_clone_is_a_moving_mean),
		POOL_TEST(the_old_go_one_at_a_time_when_a_fresh_one_has_parked),
		POOL_TEST(the_old_give_their_room_where_there_is_no_other),
		POOL_TEST(a_rolling_change_never_empties_the_pool),
		POOL_TEST(what_keeps_the_old_machines_is_told),
		POOL_TEST(the_last_old_machine_stays_where_there_is_no_room),
		POOL_TEST(a_rolling_change_serves_no_claim_that_is_too_large_by_the_old),
		POOL_TEST(a_machine_that_fails_its_probe_is_replaced),
		POOL_TEST(one_being_probed_may_be_claimed),
		POOL_TEST(without_an_interval_nothing_is_probed),
		POOL_TEST(a_template_that_keeps_failing_is_broken),
		POOL_TEST(short_of_memory_nothing_is_made_and_claims_are_told),
		POOL_TEST(those_who_wait_are_told_when_the_memory_goes),
		POOL_TEST(all_pools_share_the_room),
		POOL_TEST(claims_come_before_the_refills_of_other_pools),
		POOL_TEST(a_failing_pool_holds_up_no_other),
		POOL_TEST(a_lower_target_takes_effect_at_once),
		POOL_TEST(what_was_asked_is_kept),
		POOL_TEST(claims_are_served_by_priority_then_arrival),
		POOL_TEST(one_that_met_a_bad_machine_stays_first),
		POOL_TEST(a_paused_pool_serves_and_is_not_refilled),
		POOL_TEST(what_is_on_its_way_counts_where_nothing_more_is_made),
		POOL_TEST(a_drained_pool_is_empty_until_it_is_resumed),
		POOL_TEST(a_drain_leaves_what_claims_wait_for),
		POOL_TEST(warming_lasts_until_they_are_claimed),
		POOL_TEST(warming_is_refused_where_it_cannot_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
