#include "factory/pool/pool_spare.h"

#include <stdlib.h>

#include "base/log.h"
#include "factory/pool/pool_make.h"
#include "factory/pool/pool_priv.h"

/* Also between the end of one for its memory and the next one. */
#define NO_ROOM_RETRY_MS 10000

static void spare_end(struct pool_member *member, const char *reason)
{
	log_debug(vm_id(member->vm), "spare is given up: %s", reason);
	member_end(member, reason);
}

void spare_ready(struct pool_member *member)
{
	pool_changed(member->pool);
	pool_make_soon(member->pool);
	pool_wake_neighbours(member->pool);
}

/* It says little about the clones: those go on, and fail for themselves if it is their template. */
void spare_failed(struct pool *pool, const struct error *why)
{
	uint64_t wait = backoff_ms(++pool->lost_spares);

	metrics_count(pool->options.metrics, COUNTER_CLONES_FAILED, "spare");
	log_error(pool->options.name, "spare lost, the next one comes in %lu s: %s",
		  (unsigned long)(wait / 1000), error_message(why));
	pool_set_due(pool, POOL_DUE_SPARE, wait);
}

/* ---------------------------------------------------------------- taking, giving way */

struct pool_member *spare_take(struct pool *pool)
{
	struct pool_member *member = members_first(pool, MEMBER_SPARE);

	if (member)
		member->spare = member->probing = false; /* no answer comes any more */
	return member;
}

static struct pool_member *room_find_spare(const struct host_room *room)
{
	const struct pool *pool;

	LIST_FOREACH (pool, &room->pools, neighbour) {
		if (members_first(pool, MEMBER_SPARE))
			return TAILQ_LAST(&pool->members[MEMBER_SPARE], member_list);
	}
	return NULL;
}

void spares_make_way(struct host_room *room)
{
	if (room->spares > 0 && room->vms + room->spares >= room->max_vms)
		spare_end(room_find_spare(room), "its room is needed");
}

bool spares_free_memory(struct host_room *room, const char *reason)
{
	struct pool_member *member, *next;
	struct pool *pool;
	bool ending = false;

	if (!str_equal(reason, "min_free_mib"))
		return false;
	LIST_FOREACH (pool, &room->pools, neighbour) {
		if (members_first(pool, MEMBER_SPARE))
			pool_set_due(pool, POOL_DUE_SPARE, NO_ROOM_RETRY_MS);
		TAILQ_FOREACH_SAFE (member, &pool->members[MEMBER_SPARE], link, next)
			spare_end(member, "its memory is needed");
		TAILQ_FOREACH (member, &pool->members[MEMBER_ENDING], link)
			ending |= member->spare;
	}
	return ending;
}

static bool spare_has_room(struct pool *pool)
{
	_cleanup_(error_done) struct error err = {};
	struct host_room *room = pool->options.room;
	const char *reason;

	return host_room_check(room, (unsigned)room->spares + 1, &reason, &err) == 0;
}

/* ---------------------------------------------------------------- how many */

static const char *spare_surplus(const struct pool *pool, const struct pool_member *member,
				 unsigned place)
{
	const struct host_room *room = pool->options.room;

	if (pool->manifest && !str_equal(vm_template_id(member->vm), pool->manifest->id))
		return "its template was replaced";
	if (place >= pool->options.policy.spares)
		return "more than the policy's";
	return room->vms + room->spares > room->max_vms ? "its room is needed" : NULL;
}

void spares_trim(struct pool *pool)
{
	struct pool_member *member, *next;
	unsigned place = 0;

	TAILQ_FOREACH_SAFE (member, &pool->members[MEMBER_SPARE], link, next) {
		const char *reason = spare_surplus(pool, member, place++);
		if (reason)
			spare_end(member, reason);
	}
}

unsigned spares_starting(const struct pool *pool)
{
	const struct pool_member *member;
	unsigned count = 0;

	TAILQ_FOREACH (member, &pool->members[MEMBER_SPARE], link)
		count += vm_state(member->vm) != VM_SPARE;
	return count;
}

static bool room_starts_spare(const struct host_room *room)
{
	const struct pool *pool;

	LIST_FOREACH (pool, &room->pools, neighbour) {
		if (spares_starting(pool) > 0)
			return true;
	}
	return false;
}

static bool pool_is_idle(const struct pool *pool)
{
	const struct host_room *room = pool->options.room;

	return TAILQ_EMPTY(&pool->waiting) && room->coming == 0 && room->boots == 0 &&
	       room->lacking == 0 && !room_starts_spare(room) &&
	       !pool_awaits(pool, POOL_DUE_HOLD) && !pool_awaits(pool, POOL_DUE_BACKOFF);
}

static void spare_start(struct pool *pool)
{
	_cleanup_(error_done) struct error err = {};
	struct pool_member *member = member_new(pool);
	struct vm_options options = member_vm_options(member, pool->manifest);

	options.spare = member->spare = true;
	if (vm_start(&options, &member->vm, &err) < 0) {
		free(member);
		spare_failed(pool, &err);
		return;
	}
	member_set_state(member, MEMBER_SPARE);
}

void spare_make(struct pool *pool)
{
	if (!pool->manifest || pool->mode != POOL_RUNNING || pool->failures > 0 ||
	    members_count(pool, MEMBER_SPARE) >= pool->options.policy.spares ||
	    !pool_is_idle(pool) || pool_awaits(pool, POOL_DUE_SPARE))
		return;
	if (spare_has_room(pool))
		spare_start(pool);
	else
		pool_set_due(pool, POOL_DUE_SPARE, NO_ROOM_RETRY_MS);
}
