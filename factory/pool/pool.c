#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "factory/pool/pool_boot.h"
#include "factory/pool/pool_make.h"
#include "factory/pool/pool_priv.h"
#include "factory/pool/pool_spare.h"
#include "factory/vm/journal.h"

/* ---------------------------------------------------------------- changes */

/* A machine is on its way to a claimer that is still there. */
static bool pool_hands_over(const struct pool *pool)
{
	const struct pool_member *member;

	TAILQ_FOREACH (member, &pool->members[MEMBER_CLAIMED], link) {
		if (member->ticket || (member->conn && !vm_confirmed(member->vm)))
			return true;
	}
	return false;
}

static bool pool_is_drained(const struct pool *pool)
{
	return !members_first(pool, MEMBER_COMING) && !members_first(pool, MEMBER_SPARE) &&
	       !members_first(pool, MEMBER_PARKED) && !members_first(pool, MEMBER_BOOTING) &&
	       !members_first(pool, MEMBER_ENDING) && !(pool->stopping && pool_hands_over(pool));
}

static void change_report(void *userdata)
{
	struct pool *pool = userdata;

	pool->change_pending = false;
	pool_keep_word(pool);
	if (pool->on_drained && pool_is_drained(pool)) {
		void (*fn)(void *) = steal_ptr(pool->on_drained);
		fn(pool->drained_data);
	}
	waiters_check(pool);
	if (pool->options.on_change)
		pool->options.on_change(pool, pool->options.userdata);
}

void pool_changed(struct pool *pool)
{
	if (pool->change_pending)
		return;
	pool->change_pending = true;
	loop_defer(pool->options.loop, change_report, pool);
}

void pool_make_soon(struct pool *pool)
{
	if (pool->refill_pending)
		return;
	pool->refill_pending = true;
	loop_defer(pool->options.loop, pool_make, pool);
}

void pool_serve(struct pool *pool)
{
	tickets_serve(pool);
	pool_make_soon(pool);
}

static void hold_end(struct pool *pool)
{
	pool_clear_due(pool, POOL_DUE_HOLD);
	pool_serve(pool);
}

/* ---------------------------------------------------------------- the pool */

struct pool *pool_new(const struct pool_options *options)
{
	struct pool *pool = xnew(struct pool);

	pool->options = *options;
	for (size_t i = 0; i < MEMBER_STATES; i++)
		TAILQ_INIT(&pool->members[i]);
	TAILQ_INIT(&pool->waiting);
	TAILQ_INIT(&pool->waiters);
	pool->filling = true;
	pool_word_load(options->word, options->name, &pool->kept);
	pool->mode = (enum pool_mode)pool->kept.mode;
	pool->warm = (unsigned)pool->kept.warm;
	if (pool->mode != POOL_RUNNING)
		log_info(options->name, "the pool is %s, as before",
			 pool_mode_to_string(pool->mode));
	LIST_INSERT_HEAD(&options->room->pools, pool, neighbour);
	pool->alarm = loop_timer_new(options->loop, pool_tick, pool);
	return pool;
}

/* Runs after whatever the pool itself has deferred. */
static void pool_end(void *userdata)
{
	struct pool *pool = userdata;

	loop_timer_free(pool->alarm);
	free(pool->failure);
	free(pool);
}

void pool_free(struct pool *pool)
{
	if (!pool)
		return;
	pool->stopping = true;
	LIST_REMOVE(pool, neighbour);
	pool_set_lacking(pool, false);
	tickets_fail(pool, ECANCELED, "stopping", "the factory is stopping");
	handovers_fail(pool, ECANCELED, "stopping", "the factory is stopping");
	boots_fail(pool, ECANCELED, "stopping", "the factory is stopping");
	waiters_fail(pool, ECANCELED, "the factory is stopping");
	members_forget(pool);
	memset(pool->due_ns, 0, sizeof(pool->due_ns));
	loop_timer_stop(pool->alarm);
	pool->manifest = NULL;
	pool->on_drained = NULL;
	pool->options.on_change = NULL;
	pool->options.room = NULL;
	loop_defer(pool->options.loop, pool_end, pool);
}

static void pool_take_template(struct pool *pool, const struct template_manifest *manifest)
{
	pool->manifest = manifest;
	pool->filling = true;
	failures_forget(pool);
	pool_changed(pool); /* adopted machines may have filled it before it was open */
	pool_serve(pool);
}

static void members_end_others(struct member_list *list, const struct template_manifest *manifest,
			       void (*end)(struct pool_member *member, const char *reason))
{
	struct pool_member *member, *next;

	TAILQ_FOREACH_SAFE (member, list, link, next) {
		if (!str_equal(vm_template_id(member->vm), manifest->id))
			end(member, "its template was replaced");
	}
}

void pool_open(struct pool *pool, const struct template_manifest *manifest)
{
	members_end_others(&pool->members[MEMBER_PARKED], manifest, member_end_parked);
	pool_take_template(pool, manifest);
}

void pool_roll(struct pool *pool, const struct template_manifest *manifest)
{
	members_end_others(&pool->members[MEMBER_COMING], manifest, member_end);
	pool_take_template(pool, manifest);
}

void pool_set_limits(struct pool *pool, unsigned clones_at_once, unsigned max_waiting)
{
	pool->options.clones_at_once = clones_at_once;
	pool->options.max_waiting = max_waiting;
	pool_serve(pool);
}

static void members_end_beyond(struct pool *pool, unsigned keep)
{
	struct pool_member *member, *next;
	unsigned parked = members_count(pool, MEMBER_PARKED);

	TAILQ_FOREACH_SAFE (member, &pool->members[MEMBER_PARKED], link, next) {
		if (parked-- > keep)
			member_end_parked(member, "more than the target");
	}
}

void pool_set_policy(struct pool *pool, const struct pool_policy *policy)
{
	pool->options.policy = *policy;
	pool->filling = true;
	pool_clear_due(pool, POOL_DUE_PROBE);
	if (!policy->automatic && pool->mode != POOL_PAUSED)
		members_end_beyond(pool, pool_goal(pool));
	pool_changed(pool);
	pool_serve(pool);
}

void pool_give_up(struct pool *pool, const char *reason)
{
	pool->manifest = NULL;
	pool_clear_due(pool, POOL_DUE_BACKOFF);
	tickets_fail(pool, ENOTCONN, "the template ended", reason);
	boots_fail(pool, ENOTCONN, "the template ended", reason);
	waiters_fail(pool, ECANCELED, reason);
	members_end(pool, MEMBER_BOOTING, reason);
	members_end(pool, MEMBER_COMING, reason);
	members_end(pool, MEMBER_SPARE, reason);
	members_end(pool, MEMBER_PARKED, reason);
	pool_changed(pool);
}

void pool_close(struct pool *pool, const char *reason, void (*fn)(void *userdata), void *userdata)
{
	pool->warm = 0;
	pool->on_drained = fn;
	pool->drained_data = userdata;
	pool_give_up(pool, reason);
}

void pool_stop(struct pool *pool, const char *reason, void (*fn)(void *userdata), void *userdata)
{
	pool->stopping = true;
	pool_close(pool, reason, fn, userdata);
}

void pool_adopt(struct pool *pool, const struct journal_entry *entry,
		const struct template_manifest *manifest)
{
	_cleanup_(error_done) struct error err = {};
	struct pool_member *member = member_new(pool);
	struct vm_options options = member_vm_options(member, manifest);

	if (vm_adopt(&options, entry, &member->vm, &err) < 0) {
		log_warning(entry->id, "cannot be taken up: %s", error_message(&err));
		free(member);
		return;
	}
	metrics_count(pool->options.metrics, COUNTER_ADOPTED, vm_state_to_string(entry->state));
	bool claimed = vm_state(member->vm) == VM_CLAIMED;
	if (claimed) {
		member->lease.since_ns = clock_monotonic_ns();
		if (entry->claimer_pid > 0)
			member->lease.claimer.pid = entry->claimer_pid;
	}
	/* What was half-made is on its way out already, and no clone of ours that failed. */
	bool parked = entry->state == VM_PARKED;
	member_set_state(member, claimed ? MEMBER_CLAIMED : parked ? MEMBER_COMING : MEMBER_ENDING);
}

/* ---------------------------------------------------------------- looking and ending */

void pool_counts(const struct pool *pool, struct pool_counts *ret_counts)
{
	unsigned starting = spares_starting(pool);

	*ret_counts = (struct pool_counts){
		.target = pool_goal(pool),
		.parked = members_count(pool, MEMBER_PARKED),
		.coming = members_count(pool, MEMBER_COMING) + members_count(pool, MEMBER_BOOTING) +
			  starting,
		.spares = members_count(pool, MEMBER_SPARE) - starting,
		.spares_target = (unsigned)pool->options.policy.spares,
		.claimed = members_count(pool, MEMBER_CLAIMED),
		.waiting = tickets_count(pool),
		.automatic = pool->options.policy.automatic,
		.claims_per_s = pool_rate_per_s(&pool->rate, pool_now_ns(pool)),
	};
}

struct pool_member *pool_next(struct pool *pool, struct pool_member *after)
{
	struct pool_member *next = after ? TAILQ_NEXT(after, link) : NULL;
	enum member_state state = after ? after->state : MEMBER_NEW;

	while (!next && ++state < MEMBER_STATES)
		next = members_first(pool, state);
	return next;
}

struct pool_member *pool_find(struct pool *pool, const char *id)
{
	for (struct pool_member *m = pool_next(pool, NULL); m; m = pool_next(pool, m)) {
		if (str_equal(vm_id(m->vm), id))
			return m;
	}
	return NULL;
}

struct audit_lease *pool_member_lease(struct pool_member *member)
{
	return &member->lease;
}

struct vm *pool_member_vm(const struct pool_member *member)
{
	return member->vm;
}

const char *pool_member_origin(const struct pool_member *member)
{
	return member->origin;
}

void pool_member_bind(struct pool_member *member, struct ttrpc_conn *conn)
{
	member->conn = conn;
}

void pool_conn_ended(struct pool *pool, struct ttrpc_conn *conn)
{
	struct pool_member *member, *next;

	TAILQ_FOREACH_SAFE (member, &pool->members[MEMBER_CLAIMED], link, next) {
		if (member->conn != conn)
			continue;
		member->conn = NULL;
		if (vm_confirmed(member->vm))
			continue;
		log_warning(vm_id(member->vm),
			    "taken back: its claimer went away before it confirmed");
		metrics_count(pool->options.metrics, COUNTER_CLAIMS_TAKEN_BACK, "");
		member_end(member, "its claimer went away before it confirmed");
		hold_end(pool);
	}
}

void pool_confirm(struct pool_member *member)
{
	vm_confirm(member->vm);
	hold_end(member->pool);
	pool_changed(member->pool);
}

int pool_release(struct pool_member *member, const char *reason, void (*fn)(void *userdata),
		 void *userdata)
{
	if (member->on_released)
		return -EBUSY;
	member->on_released = fn;
	member->released_data = userdata;
	member_end(member, reason);
	return 0;
}
