#include "factory/pool/pool_member.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "factory/pool/pool_boot.h"
#include "factory/pool/pool_make.h"
#include "factory/pool/pool_priv.h"
#include "factory/pool/pool_spare.h"
#include "factory/pool/pool_watch.h"

/* ---------------------------------------------------------------- states */

static const char *const member_state_names[] = {
	[MEMBER_NEW] = "new",       [MEMBER_COMING] = "coming",   [MEMBER_PARKED] = "parked",
	[MEMBER_SPARE] = "spare",   [MEMBER_CLAIMED] = "claimed", [MEMBER_BOOTING] = "booting",
	[MEMBER_ENDING] = "ending", [MEMBER_LEFT] = "left",
};

/* Any machine may die by itself, and is forgotten at the factory's end. */
#define ENDS (STATE(MEMBER_ENDING) | STATE(MEMBER_LEFT))
static const unsigned member_next[] = {
	[MEMBER_NEW] = STATE(MEMBER_COMING) | STATE(MEMBER_SPARE) | STATE(MEMBER_BOOTING) |
		       STATE(MEMBER_CLAIMED) | STATE(MEMBER_ENDING),
	[MEMBER_COMING] = STATE(MEMBER_PARKED) | ENDS,
	[MEMBER_SPARE] = STATE(MEMBER_COMING) | ENDS,
	[MEMBER_PARKED] = STATE(MEMBER_CLAIMED) | ENDS,
	[MEMBER_BOOTING] = STATE(MEMBER_CLAIMED) | ENDS,
	[MEMBER_CLAIMED] = ENDS,
	[MEMBER_ENDING] = STATE(MEMBER_LEFT),
	[MEMBER_LEFT] = 0,
};
const struct state_machine member_states = STATE_MACHINE("member", member_state_names, member_next);

static const enum room_use room_uses[] = {
	[MEMBER_NEW] = ROOM_NONE,    [MEMBER_COMING] = ROOM_COMING, [MEMBER_PARKED] = ROOM_VM,
	[MEMBER_SPARE] = ROOM_SPARE, [MEMBER_CLAIMED] = ROOM_VM,    [MEMBER_BOOTING] = ROOM_BOOT,
	[MEMBER_ENDING] = ROOM_NONE, [MEMBER_LEFT] = ROOM_NONE,
};

void member_set_state(struct pool_member *member, enum member_state state)
{
	struct pool *pool = member->pool;
	enum member_state old = member->state;

	state_change(&member_states, vm_id(member->vm), old, state);
	member->state = state;
	if (old != MEMBER_NEW)
		TAILQ_REMOVE(&pool->members[old], member, link);
	if (state != MEMBER_LEFT)
		TAILQ_INSERT_TAIL(&pool->members[state], member, link);
	host_room_change(pool->options.room, room_uses[old], room_uses[state]);
	if (old == MEMBER_COMING || old == MEMBER_BOOTING)
		pool_wake_neighbours(pool);
	pool_changed(pool);
}

struct pool_member *member_new(struct pool *pool)
{
	struct pool_member *member = xnew(struct pool_member);
	member->pool = pool;
	member->origin = "";
	member->lease = (struct audit_lease){ .claimer = AUDIT_NOBODY, .releaser = AUDIT_NOBODY };
	return member;
}

struct pool_member *members_first(const struct pool *pool, enum member_state state)
{
	return TAILQ_FIRST(&pool->members[state]);
}

unsigned members_count(const struct pool *pool, enum member_state state)
{
	const struct pool_member *member;
	unsigned count = 0;

	TAILQ_FOREACH (member, &pool->members[state], link)
		count++;
	return count;
}

static void member_free(void *userdata)
{
	struct pool_member *member = userdata;

	vm_free(member->vm);
	free(member);
}

void members_forget(struct pool *pool)
{
	struct pool_member *member;

	while ((member = pool_next(pool, NULL))) {
		member_set_state(member, MEMBER_LEFT);
		member_free(member);
	}
}

/* ---------------------------------------------------------------- their end */

/* Of one that was handed out: a claim that failed before that left no line to be ended. */
static void lease_end(const struct pool_member *member, const char *reason)
{
	if (member->lease.since_ns == 0)
		return;
	audit_release(vm_sandbox_id(member->vm), vm_id(member->vm), &member->lease, reason);
}

void member_end(struct pool_member *member, const char *reason)
{
	if (member->state == MEMBER_ENDING)
		return;
	lease_end(member, reason);
	member_set_state(member, MEMBER_ENDING);
	vm_destroy(member->vm, reason);
}

void member_end_parked(struct pool_member *member, const char *reason)
{
	log_info(vm_id(member->vm), "parked machine is given up: %s", reason);
	metrics_count(member->pool->options.metrics, COUNTER_PARKED_ENDED, reason);
	member_end(member, reason);
}

void members_end(struct pool *pool, enum member_state state, const char *reason)
{
	struct pool_member *member, *next;

	TAILQ_FOREACH_SAFE (member, &pool->members[state], link, next)
		member_end(member, reason);
}

/* ---------------------------------------------------------------- their state */

static void member_gone(struct pool_member *member, enum vm_state last, const struct error *why)
{
	struct pool *pool = member->pool;
	bool wanted = member->state == MEMBER_ENDING, booting = member->state == MEMBER_BOOTING;
	bool spare = member->spare;

	if (member->on_released)
		member->on_released(member->released_data);
	member_set_state(member, MEMBER_LEFT);
	loop_defer(pool->options.loop, member_free, member);
	if (spare)
		pool_wake_neighbours(pool); /* its room is free */
	if (wanted)
		return;

	if (booting) {
		boot_failed(member, why);
	} else if (spare) {
		spare_failed(pool, why);
	} else if (last == VM_PARKED) {
		log_warning(vm_id(member->vm), "parked machine lost: %s", error_message(why));
		metrics_count(pool->options.metrics, COUNTER_PARKED_LOST, "");
	} else if (last == VM_CLAIMED) {
		lease_end(member, error_message(why));
		metrics_count(pool->options.metrics, COUNTER_SANDBOXES_ENDED, "");
	} else if (!member->cloned_ns) {
		log_warning(vm_id(member->vm), "adopted machine lost: %s", error_message(why));
		metrics_count(pool->options.metrics, COUNTER_PARKED_LOST, "");
	} else {
		clone_failed(pool, why);
	}
}

static void on_vm_state(struct vm *vm _unused_, enum vm_state old, enum vm_state now,
			const struct error *why, void *userdata)
{
	struct pool_member *member = userdata;
	struct pool *pool = member->pool;

	switch (now) {
	case VM_WARMING:
		member->warming_ns = pool_now_ns(pool);
		return;
	case VM_SPARE:
		spare_ready(member);
		return;
	case VM_SPAWNED:
	case VM_RESTORED:
	case VM_CLAIMED:
		return;
	case VM_PARKED:
		if (member->state == MEMBER_BOOTING)
			ticket_hand_over(member->ticket, member);
		if (member->state != MEMBER_COMING)
			return;
		clone_parked(member);
		member_set_state(member, MEMBER_PARKED);
		pool_serve(pool);
		pool_trim(pool);
		break;
	case VM_GONE:
		member_gone(member, old, why);
		pool_serve(pool);
		break;
	}
}

struct vm_options member_vm_options(struct pool_member *member,
				    const struct template_manifest *manifest)
{
	return (struct vm_options){
		.loop = member->pool->options.loop,
		.manifest = manifest,
		.run_dir = member->pool->options.run_dir,
		.jail = member->pool->options.jail,
		.lease_grace_ms = member->pool->options.lease_grace_ms,
		.merge_pages = member->pool->options.merge_pages,
		.scratch_dir = member->pool->options.scratch_dir,
		.on_state = on_vm_state,
		.userdata = member,
	};
}
