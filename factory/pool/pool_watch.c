#include "factory/pool/pool_watch.h"

#include "base/log.h"
#include "factory/pool/pool_make.h"
#include "factory/pool/pool_priv.h"
#include "factory/pool/pool_spare.h"
#include "factory/vm/vm_probe.h"

#define NS_PER_S  1000000000ull
#define REVIEW_MS 10000 /* between two machines that a falling target gives up */

/* ---------------------------------------------------------------- age */

static uint64_t member_expires_ns(const struct pool_member *member)
{
	uint64_t max_age_s = member->pool->options.policy.max_age_s;

	return max_age_s > 0 ? member->parked_ns + max_age_s * NS_PER_S : UINT64_MAX;
}

const char *member_staleness(const struct pool_member *member)
{
	const struct template_manifest *manifest = member->pool->manifest;

	if (manifest && !str_equal(vm_template_id(member->vm), manifest->id))
		return "its template was replaced";
	if (pool_now_ns(member->pool) >= member_expires_ns(member))
		return "too old";
	return NULL;
}

struct pool_member *pool_find_stale(const struct pool *pool)
{
	struct pool_member *member;

	TAILQ_FOREACH (member, &pool->members[MEMBER_PARKED], link) {
		if (member_staleness(member))
			return member;
	}
	return NULL;
}

/* A stale one goes when there is one more than the goal, which a fresh one has made so. */
void pool_trim(struct pool *pool)
{
	struct pool_member *member;
	unsigned parked = members_count(pool, MEMBER_PARKED);
	unsigned goal = pool_goal(pool);

	if (pool->mode == POOL_PAUSED)
		return;
	while (parked > goal && (member = pool_find_stale(pool))) {
		member_end_parked(member, member_staleness(member));
		parked--;
	}
	if (parked > goal)
		member_end_parked(members_first(pool, MEMBER_PARKED), "more than the target");
}

/* The first time that something may have to be done about a parked machine. */
void pool_plan_review(struct pool *pool)
{
	const struct pool_member *member;
	uint64_t now = pool_now_ns(pool);
	uint64_t next = UINT64_MAX;

	TAILQ_FOREACH (member, &pool->members[MEMBER_PARKED], link) {
		uint64_t expires = member_expires_ns(member);
		if (expires > now && expires < next)
			next = expires;
	}
	uint64_t wait_ms = next == UINT64_MAX ? next : (next - now) / 1000000 + 1;
	bool surplus = pool->options.policy.automatic ||
		       members_count(pool, MEMBER_PARKED) > pool_goal(pool);
	if (surplus && wait_ms > REVIEW_MS)
		wait_ms = REVIEW_MS;
	if (wait_ms == UINT64_MAX || !members_first(pool, MEMBER_PARKED))
		pool_clear_due(pool, POOL_DUE_REVIEW);
	else if (!pool_awaits(pool, POOL_DUE_REVIEW) ||
		 pool->due_ns[POOL_DUE_REVIEW] > now + wait_ms * 1000000)
		pool_set_due(pool, POOL_DUE_REVIEW, wait_ms);
}

/* ---------------------------------------------------------------- probes */

static void on_probed(struct vm *vm, int number, const struct error *err, void *userdata)
{
	struct pool_member *member = userdata;
	struct pool *pool = member->pool;

	member->probing = false;
	if (number == 0)
		return;
	if (member->state == MEMBER_SPARE) {
		spare_failed(pool, err);
		member_end(member, "it failed its probe");
		return;
	}
	if (member->state != MEMBER_PARKED)
		return;
	log_warning(vm_id(vm), "parked machine failed its probe: %s", error_message(err));
	metrics_count(pool->options.metrics, COUNTER_PARKED_LOST, "probe");
	member_end(member, "it failed its probe");
	pool_serve(pool);
}

static void members_probe(struct member_list *list)
{
	struct pool_member *member;

	TAILQ_FOREACH (member, list, link) {
		/* A spare that is still on its way has deadlines of its own. */
		bool rests = vm_state(member->vm) == VM_PARKED || vm_state(member->vm) == VM_SPARE;
		if (member->probing || !rests)
			continue;
		member->probing = true;
		vm_probe(member->vm, on_probed, member);
	}
}

void pool_probe(struct pool *pool)
{
	members_probe(&pool->members[MEMBER_PARKED]);
	members_probe(&pool->members[MEMBER_SPARE]);
}
