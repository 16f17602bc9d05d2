#include "factory/pool/pool_make.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "factory/pool/pool_priv.h"
#include "factory/pool/pool_spare.h"
#include "factory/pool/pool_watch.h"

#define BACKOFF_MIN_MS 1000
#define BACKOFF_MAX_MS 60000
#define ROOM_RETRY_MS  1000

/* ---------------------------------------------------------------- how many */

static unsigned policy_target(const struct pool *pool)
{
	const struct pool_policy *policy = &pool->options.policy;

	if (!policy->automatic)
		return (unsigned)policy->target;
	return (unsigned)pool_rate_target(&pool->rate, pool_now_ns(pool), policy->min, policy->max);
}

unsigned pool_goal(const struct pool *pool)
{
	unsigned target = policy_target(pool);

	if (pool->mode == POOL_DRAINED)
		return 0;
	return pool->warm > target ? pool->warm : target;
}

/* Where a refill begins. Below the low-water mark; at once where an operator or a stale machine
 * asks for more. */
static unsigned refill_mark(const struct pool *pool, unsigned goal, bool stale)
{
	uint64_t low = pool->options.policy.low_water;

	if (low == 0 || low > goal || pool->warm > 0 || stale)
		return goal;
	return (unsigned)low;
}

/* Clones to begin for the pool itself, with `ready` parked or coming. */
static unsigned refill_wanted(struct pool *pool, unsigned ready)
{
	bool stale = pool->mode == POOL_RUNNING && pool_find_stale(pool);
	unsigned goal = pool_goal(pool) + stale;

	if (members_count(pool, MEMBER_PARKED) >= goal)
		pool->filling = false;
	if (ready >= goal)
		return 0;
	if (ready < refill_mark(pool, goal, stale))
		pool->filling = true;
	if (pool->mode != POOL_RUNNING || !pool->filling || pool_awaits(pool, POOL_DUE_HOLD))
		return 0;
	return goal - ready;
}

/* Clones that may be under way at once: one while it is not known that they succeed again. */
static unsigned at_once(const struct pool *pool, bool for_claims)
{
	unsigned most = pool->options.clones_at_once;
	unsigned burst = (unsigned)pool->options.policy.burst;

	if (pool->failures > 0)
		return 1;
	if (burst == 0)
		return most;
	return for_claims && most > burst ? most : burst;
}

/* ---------------------------------------------------------------- beginning them */

static void clone_of_spare(struct pool_member *member)
{
	member->cloned_ns = member->warming_ns = pool_now_ns(member->pool);
	member_set_state(member, MEMBER_COMING);
	vm_use_spare(member->vm);
}

static bool clone_start(struct pool *pool)
{
	_cleanup_(error_done) struct error err = {};
	struct pool_member *member = spare_take(pool);

	if (member) {
		clone_of_spare(member);
		return true;
	}
	member = member_new(pool);
	struct vm_options options = member_vm_options(member, pool->manifest);
	spares_make_way(pool->options.room);
	member->cloned_ns = pool_now_ns(pool);
	if (vm_start(&options, &member->vm, &err) < 0) {
		free(member);
		clone_failed(pool, &err);
		return false;
	}
	member_set_state(member, MEMBER_COMING);
	return true;
}

/* With as many machines as there may be, a stale one goes before its successor comes; the last
 * one parked does not. */
static bool make_room_of_stale(struct pool *pool)
{
	struct pool_member *member = pool_find_stale(pool);

	if (!member || members_count(pool, MEMBER_PARKED) < 2)
		return false;
	member_end_parked(member, member_staleness(member));
	return true;
}

/* Sees to it that the host has room for one more; false where it cannot be, until it is tried
 * again. Claims that would need it are told at once. */
static bool make_room(struct pool *pool, unsigned ready)
{
	_cleanup_(error_done) struct error err = {};
	const char *reason = NULL;

	if (host_room_check(pool->options.room, 1, &reason, &err) == 0 ||
	    (str_equal(reason, "max_vms") && make_room_of_stale(pool))) {
		pool->held = NULL;
		return true;
	}
	pool_set_due(pool, POOL_DUE_ROOM, ROOM_RETRY_MS);
	if (spares_free_memory(pool->options.room, reason))
		return false;
	if (pool->held != reason) {
		log_warning(pool->options.name, "no clones are made: %s", error_message(&err));
		metrics_count(pool->options.metrics, COUNTER_REFILLS_HELD, reason);
		pool_changed(pool);
	}
	pool->held = reason;
	tickets_fail_beyond(pool, ready, reason, &err);
	return false;
}

/* Clones that count against the bound. Those of other pools too for a refill, but for the one by
 * which a pool whose clones fail tries again. */
static unsigned under_way(const struct pool *pool, bool for_claims)
{
	return for_claims || pool->failures > 0 ? members_count(pool, MEMBER_COMING)
						: pool->options.room->coming;
}

/* Whether claims still wait for a machine to be begun, which others' refills give way to. */
static bool make_missing(struct pool *pool)
{
	unsigned ready = members_count(pool, MEMBER_PARKED) + members_count(pool, MEMBER_COMING);
	unsigned waiting = tickets_count(pool);
	bool for_claims = waiting > ready;
	unsigned wanted = for_claims ? waiting - ready : refill_wanted(pool, ready - waiting);

	if (waiting == 0 && ready >= pool_goal(pool))
		pool->held = NULL;
	/* Claims first: the pool is refilled when nobody waits. */
	if (!for_claims && (waiting > 0 || pool->options.room->lacking > 0))
		return false;
	while (wanted > 0 && under_way(pool, for_claims) < at_once(pool, for_claims)) {
		if (!make_room(pool, ready) || !clone_start(pool))
			return false;
		wanted--;
		ready++;
	}
	return for_claims && wanted > 0;
}

void pool_wake_neighbours(const struct pool *pool)
{
	struct pool *other;

	LIST_FOREACH (other, &pool->options.room->pools, neighbour) {
		if (other != pool && other->manifest)
			pool_make_soon(other);
	}
}

void pool_set_lacking(struct pool *pool, bool lacking)
{
	if (pool->lacking == lacking)
		return;
	pool->lacking = lacking;
	if (host_room_lack(pool->options.room, lacking))
		pool_wake_neighbours(pool);
}

void pool_make(void *userdata)
{
	struct pool *pool = userdata;

	pool->refill_pending = false;
	spares_trim(pool);
	pool_set_lacking(pool, pool->manifest && !pool_awaits(pool, POOL_DUE_BACKOFF) &&
				       make_missing(pool));
	spare_make(pool);
	pool_plan_review(pool);
	if (pool->options.policy.probe_s > 0 &&
	    !(!members_first(pool, MEMBER_PARKED) && !members_first(pool, MEMBER_SPARE)) &&
	    !pool_awaits(pool, POOL_DUE_PROBE))
		pool_set_due(pool, POOL_DUE_PROBE, pool->options.policy.probe_s * 1000);
}

/* ---------------------------------------------------------------- success and failure */

void failures_forget(struct pool *pool)
{
	pool->failures = pool->lost_spares = 0;
	replace_string(&pool->failure, NULL);
	pool_clear_due(pool, POOL_DUE_BACKOFF);
}

void pool_retry(struct pool *pool)
{
	if (!pool->failure)
		return;
	failures_forget(pool);
	pool_serve(pool);
}

bool pool_is_broken(const struct pool *pool)
{
	return pool->failures >= POOL_FAILURES_MAX;
}

const char *pool_failure(const struct pool *pool)
{
	return pool->failure;
}

uint64_t backoff_ms(unsigned failures)
{
	uint64_t wait = BACKOFF_MIN_MS;

	for (unsigned i = 1; i < failures && wait < BACKOFF_MAX_MS; i++)
		wait *= 2;
	return wait < BACKOFF_MAX_MS ? wait : BACKOFF_MAX_MS;
}

void clone_failed(struct pool *pool, const struct error *why)
{
	pool->failures++;
	replace_string(&pool->failure, error_message(why));
	metrics_count(pool->options.metrics, COUNTER_CLONES_FAILED, "");
	uint64_t wait = pool_is_broken(pool) ? POOL_BROKEN_RETRY_MS : backoff_ms(pool->failures);
	log_error(pool->options.name, "clone failed (%u in a row%s), next try in %lu s: %s",
		  pool->failures, pool_is_broken(pool) ? ": the template is broken" : "",
		  (unsigned long)(wait / 1000), error_message(why));

	pool_set_due(pool, POOL_DUE_BACKOFF, wait);
	pool_changed(pool);
	if (pool_is_broken(pool))
		tickets_fail(pool, ENOTCONN, "broken", pool->failure);
}

void clone_parked(struct pool_member *member)
{
	struct pool *pool = member->pool;

	failures_forget(pool);
	member->parked_ns = pool_now_ns(pool);
	if (!member->cloned_ns)
		return; /* adopted: made by an earlier factory */
	pool_rate_made(&pool->rate, member->parked_ns - member->cloned_ns);
	metrics_count(pool->options.metrics, COUNTER_CLONES_PARKED, "");
	metrics_observe(pool->options.metrics, HISTOGRAM_CLONE,
			member->parked_ns - member->cloned_ns);
	if (member->warming_ns)
		metrics_observe(pool->options.metrics, HISTOGRAM_WARM,
				member->parked_ns - member->warming_ns);
}
