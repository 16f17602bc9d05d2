/* Machines of a pool: their lists, their changes of state, their end. */
#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "factory/pool/pool_priv.h"

/* ---------------------------------------------------------------- lists */

/* In the lists but `ending` it takes up room on the host; a spare's is counted apart. */
static void room_count(const struct pool_member *member, int by)
{
	const struct pool *pool = member->pool;
	struct host_room *room = pool->options.room;

	if (!member->home || member->home == &pool->ending)
		return;
	if (member->home == &pool->spares)
		room->spares += (uint64_t)by;
	else
		room->vms += (uint64_t)by;
}

static void member_leave(struct pool_member *member)
{
	struct host_room *room = member->pool->options.room;
	bool coming = member->home == &member->pool->coming;

	room_count(member, -1);
	if (member->home == &member->pool->booting)
		room->boots--;
	if (member->home)
		TAILQ_REMOVE(member->home, member, link);
	member->home = NULL;
	if (coming) {
		room->coming--;
		pool_wake_neighbours(member->pool);
	}
	pool_changed(member->pool);
}

void member_move(struct pool_member *member, struct member_list *to)
{
	if (member->home == to)
		return;
	member_leave(member);
	member->home = to;
	TAILQ_INSERT_TAIL(to, member, link);
	room_count(member, 1);
	if (to == &member->pool->coming)
		member->pool->options.room->coming++;
	if (to == &member->pool->booting)
		member->pool->options.room->boots++;
}

struct pool_member *member_new(struct pool *pool)
{
	struct pool_member *member = xnew(struct pool_member);
	member->pool = pool;
	member->origin = "";
	member->lease = (struct audit_lease){ .claimer = AUDIT_NOBODY, .releaser = AUDIT_NOBODY };
	return member;
}

unsigned members_count(const struct member_list *list)
{
	const struct pool_member *member;
	unsigned count = 0;

	TAILQ_FOREACH (member, list, link)
		count++;
	return count;
}

static void member_free(void *userdata)
{
	struct pool_member *member = userdata;

	vm_free(member->vm);
	free(member);
}

void members_forget(struct member_list *list)
{
	struct pool_member *member, *next;

	TAILQ_FOREACH_SAFE (member, list, link, next) {
		member_leave(member);
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
	if (member->home == &member->pool->ending)
		return;
	lease_end(member, reason);
	member_move(member, &member->pool->ending);
	vm_destroy(member->vm, reason);
}

void member_end_parked(struct pool_member *member, const char *reason)
{
	log_info(vm_id(member->vm), "parked machine is given up: %s", reason);
	metrics_count(member->pool->options.metrics, COUNTER_PARKED_ENDED, reason);
	member_end(member, reason);
}

void members_end(struct member_list *list, const char *reason)
{
	struct pool_member *member, *next;

	TAILQ_FOREACH_SAFE (member, list, link, next)
		member_end(member, reason);
}

/* ---------------------------------------------------------------- their state */

static void member_gone(struct pool_member *member, enum vm_state last, const struct error *why)
{
	struct pool *pool = member->pool;
	bool wanted = member->home == &pool->ending, booting = member->home == &pool->booting;
	bool spare = member->spare;

	if (member->on_released)
		member->on_released(member->released_data);
	member_leave(member);
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
		if (member->home == &pool->booting)
			boot_parked(member);
		if (member->home != &pool->coming)
			return;
		clone_parked(member);
		member_move(member, &pool->parked);
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
