#include "factory/pool/pool_claim.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/trace.h"
#include "factory/pool/pool_boot.h"
#include "factory/pool/pool_make.h"
#include "factory/pool/pool_priv.h"
#include "factory/pool/pool_spare.h"

/* A claim may meet machines that die under its hands; it tries so many before it gives up. */
#define CLAIM_TRIES_MAX 3

static const char *const claim_origin_names[] = {
	[CLAIM_POOLED] = "pooled",
	[CLAIM_CLONED] = "cloned",
	[CLAIM_BOOTED] = "booted",
};
DEFINE_STRING_TABLE(claim_origin, enum claim_origin, claim_origin_names)

/* ---------------------------------------------------------------- the line */

unsigned tickets_count(const struct pool *pool)
{
	const struct pool_ticket *ticket;
	unsigned count = 0;

	TAILQ_FOREACH (ticket, &pool->waiting, link)
		count++;
	return count;
}

/* Behind those of its priority; one that comes back from a bad machine goes before them. */
static void ticket_queue(struct pool_ticket *ticket, bool again)
{
	struct pool *pool = ticket->pool;
	struct pool_ticket *other;

	TAILQ_FOREACH (other, &pool->waiting, link) {
		if (other->priority < ticket->priority ||
		    (again && other->priority == ticket->priority)) {
			TAILQ_INSERT_BEFORE(other, ticket, link);
			return;
		}
	}
	TAILQ_INSERT_TAIL(&pool->waiting, ticket, link);
}

static void ticket_free(struct pool_ticket *ticket)
{
	free(ticket->sandbox_id);
	free(ticket);
}

void ticket_fail(struct pool_ticket *ticket, const char *counted, const struct error *err)
{
	if (!ticket->member)
		TAILQ_REMOVE(&ticket->pool->waiting, ticket, link);
	if (ticket->fn) {
		metrics_count(ticket->pool->options.metrics, COUNTER_CLAIMS_FAILED, counted);
		ticket->fn(-err->number, NULL, err, ticket->userdata);
	}
	ticket_free(ticket);
}

void tickets_fail(struct pool *pool, int number, const char *counted, const char *why)
{
	_cleanup_(error_done) struct error err = {};

	(void)error_set(&err, number, "no machine for the sandbox: %s", why);
	tickets_fail_beyond(pool, 0, counted, &err);
}

void tickets_fail_beyond(struct pool *pool, unsigned keep, const char *counted,
			 const struct error *err)
{
	struct pool_ticket *ticket, *next;
	unsigned place = 0;

	TAILQ_FOREACH_SAFE (ticket, &pool->waiting, link, next) {
		if (place++ >= keep)
			ticket_fail(ticket, counted, err);
	}
}

void handovers_fail(struct pool *pool, int number, const char *counted, const char *why)
{
	_cleanup_(error_done) struct error err = {};
	struct pool_member *member;

	(void)error_set(&err, number, "no machine for the sandbox: %s", why);
	TAILQ_FOREACH (member, &pool->members[MEMBER_CLAIMED], link) {
		struct pool_ticket *ticket = steal_ptr(member->ticket);
		if (ticket)
			ticket_fail(ticket, counted, &err);
	}
}

/* ---------------------------------------------------------------- handing over */

/* The machine turned out bad: the claim takes its place in the line again. */
static void ticket_retry(struct pool_ticket *ticket, const struct error *err)
{
	struct pool *pool = ticket->pool;

	log_warning(ticket->sandbox_id, "the machine for this claim failed: %s",
		    error_message(err));
	if (!ticket->fn || ticket->origin == CLAIM_BOOTED || ++ticket->tries >= CLAIM_TRIES_MAX ||
	    !pool->manifest) {
		ticket_fail(ticket, "bad machines", err);
		return;
	}
	ticket->member = NULL;
	if (ticket->origin == CLAIM_POOLED && !members_first(pool, MEMBER_PARKED)) {
		ticket->origin = CLAIM_CLONED;
		ticket->reason = "the parked machine was bad";
	}
	ticket_queue(ticket, true);
	pool_serve(pool);
}

static void ticket_count(const struct pool_ticket *ticket)
{
	static const enum counter counters[] = {
		[CLAIM_POOLED] = COUNTER_CLAIMS_POOLED,
		[CLAIM_CLONED] = COUNTER_CLAIMS_CLONED,
		[CLAIM_BOOTED] = COUNTER_CLAIMS_BOOTED,
	};
	struct metrics *metrics = ticket->pool->options.metrics;

	metrics_count(metrics, counters[ticket->origin], ticket->reason);
	if (ticket->grows)
		metrics_count(metrics, COUNTER_CLAIMS_GROWN, "");
}

static void on_vm_claimed(struct vm *vm _unused_, int number, const struct vm_handover *handover,
			  const struct error *err, void *userdata)
{
	struct pool_ticket *ticket = userdata;
	struct pool_member *member = ticket->member;

	member->ticket = NULL;
	if (number < 0) {
		member_end(member, "cannot be resumed");
		ticket_retry(ticket, err);
		return;
	}
	if (!ticket->fn) {
		vm_handover_close(handover);
		member_end(member, "its claimer went away");
		ticket_free(ticket);
		return;
	}
	ticket_count(ticket);
	struct pool_grant grant = {
		.member = member,
		.handover = handover,
		.origin = ticket->origin,
		.reason = ticket->reason,
		.parked_ms = ticket->parked_ms,
	};
	ticket->fn(0, &grant, NULL, ticket->userdata);
	ticket_free(ticket);
}

/* One of those an operator asked for is taken. What a fixed target keeps anyway is not asked for.
 */
static void warm_take(struct pool *pool)
{
	const struct pool_policy *policy = &pool->options.policy;

	if (pool->warm > 0)
		pool->warm--;
	if (!policy->automatic && pool->warm <= policy->target)
		pool->warm = 0;
}

void ticket_hand_over(struct pool_ticket *ticket, struct pool_member *member)
{
	struct vm_size size = vm_size(member->vm);

	ticket->member = member;
	ticket->grows = !vm_size_holds(&size, &ticket->size);
	member->ticket = ticket;
	member->origin = claim_origin_to_string(ticket->origin);
	member_set_state(member, MEMBER_CLAIMED);
	/* From here on: a clone begun now would be in the way of the resume already. */
	pool_set_due(member->pool, POOL_DUE_HOLD, POOL_HOLD_MS);
	struct trace_context outer = trace_enter(&ticket->trace);
	vm_claim(member->vm, ticket->sandbox_id, &ticket->size, on_vm_claimed, ticket);
	(void)trace_enter(&outer);
}

/* The one that is parked first. A machine of the template before may be too small for a claim that
 * was accepted for this one: it is not tried, nor kept for another. */
static struct pool_member *parked_for(struct pool *pool, struct pool_ticket *ticket)
{
	struct pool_member *member, *next;

	TAILQ_FOREACH_SAFE (member, &pool->members[MEMBER_PARKED], link, next) {
		struct vm_size most = vm_max_size(member->vm);
		if (!pool->manifest || vm_size_holds(&most, &ticket->size) ||
		    str_equal(vm_template_id(member->vm), pool->manifest->id))
			return member;
		member_end_parked(member, "its template was replaced");
	}
	if (ticket->origin == CLAIM_POOLED) {
		ticket->origin = CLAIM_CLONED;
		ticket->reason = "the parked machine was too small";
	}
	return NULL;
}

void tickets_serve(struct pool *pool)
{
	struct pool_ticket *ticket;
	struct pool_member *member;

	while ((ticket = TAILQ_FIRST(&pool->waiting)) && (member = parked_for(pool, ticket))) {
		TAILQ_REMOVE(&pool->waiting, ticket, link);
		ticket->parked_ms = (pool_now_ns(pool) - member->parked_ns) / 1000000;
		warm_take(pool);
		ticket_hand_over(ticket, member);
	}
}

/* ---------------------------------------------------------------- claims */

static bool sandbox_is_served(const struct pool *pool, const char *sandbox_id)
{
	const struct pool_member *member;
	const struct pool_ticket *ticket;

	TAILQ_FOREACH (member, &pool->members[MEMBER_CLAIMED], link) {
		const char *held = member->ticket ? member->ticket->sandbox_id
						  : vm_sandbox_id(member->vm);
		if (str_equal(held, sandbox_id))
			return true;
	}
	TAILQ_FOREACH (member, &pool->members[MEMBER_BOOTING], link) {
		if (str_equal(member->ticket->sandbox_id, sandbox_id))
			return true;
	}
	TAILQ_FOREACH (ticket, &pool->waiting, link) {
		if (str_equal(ticket->sandbox_id, sandbox_id))
			return true;
	}
	return false;
}

/* Whether the host has room for the machines that this claim and those before it need beyond
 * what is parked or coming. */
static int claim_check_room(const struct pool *pool, const char **ret_counted, struct error *err)
{
	unsigned ready = members_count(pool, MEMBER_PARKED) + members_count(pool, MEMBER_COMING);
	unsigned wanted = tickets_count(pool) + 1;

	if (wanted <= ready)
		return 0;
	int r = host_room_check(pool->options.room, wanted - ready, ret_counted, err);
	if (r < 0 && spares_free_memory(pool->options.room, *ret_counted)) {
		error_done(err);
		return 0; /* waits, and is refused if that is not enough */
	}
	return r;
}

static int claim_check(const struct pool *pool, const struct pool_request *request,
		       const char **ret_counted, struct error *err)
{
	if (sandbox_is_served(pool, request->sandbox_id)) {
		*ret_counted = "twice";
		return error_set(err, EEXIST, "sandbox %s has a machine already",
				 request->sandbox_id);
	}
	if (request->boot)
		return host_room_check_boot(pool->options.room, request->boot, ret_counted, err);
	if (tickets_count(pool) >= pool->options.max_waiting) {
		*ret_counted = "max_waiting";
		return error_set(err, EAGAIN, "%u claims are waiting already (max_waiting)",
				 pool->options.max_waiting);
	}
	if (pool_is_broken(pool) && !members_first(pool, MEMBER_PARKED)) {
		*ret_counted = "broken";
		return error_set(err, ENOTCONN, "clones of template %s fail: %s",
				 pool->options.name, pool->failure);
	}
	return claim_check_room(pool, ret_counted, err);
}

/* Why nothing is parked. */
static const char *empty_reason(const struct pool *pool)
{
	if (!pool->manifest)
		return "the template was not ready";
	switch (pool->mode) {
	case POOL_PAUSED:
		return "the pool is paused";
	case POOL_DRAINED:
		return !members_first(pool, MEMBER_ENDING) ? "the pool is drained"
							   : "the pool was being drained";
	case POOL_RUNNING:
		break;
	}
	return pool_goal(pool) == 0 ? "the pool keeps no machines" : "the pool was empty";
}

static int ticket_boot(struct pool_ticket *ticket, const struct vm_size *size, struct error *err)
{
	int r = boot_start(ticket, size, err);

	if (r == 0)
		return 0;
	metrics_count(ticket->pool->options.metrics, COUNTER_CLAIMS_FAILED, "boot failed");
	ticket_free(ticket);
	return r;
}

int pool_claim(struct pool *pool, const struct pool_request *request, pool_claim_fn fn,
	       void *userdata, struct pool_ticket **ret_ticket, struct error *err)
{
	const char *counted = NULL;

	if (!request->boot)
		pool_rate_claimed(&pool->rate, pool_now_ns(pool));
	int r = claim_check(pool, request, &counted, err);
	if (r < 0) {
		metrics_count(pool->options.metrics, COUNTER_CLAIMS_FAILED, counted);
		return r;
	}

	struct pool_ticket *ticket = xnew(struct pool_ticket);
	ticket->pool = pool;
	ticket->sandbox_id = xstrdup(request->sandbox_id);
	ticket->priority = request->priority;
	ticket->fn = fn;
	ticket->userdata = userdata;
	ticket->size = request->size;
	ticket->trace = trace_now();
	*ret_ticket = ticket;
	if (request->boot)
		return ticket_boot(ticket, request->boot, err);
	ticket->origin = !members_first(pool, MEMBER_PARKED) ? CLAIM_CLONED : CLAIM_POOLED;
	ticket->reason = ticket->origin == CLAIM_CLONED ? empty_reason(pool) : "";
	ticket_queue(ticket, false);
	pool_serve(pool);
	return 0;
}

void pool_cancel(struct pool_ticket *ticket)
{
	ticket->fn = NULL;
	if (ticket->member && ticket->member->state == MEMBER_BOOTING)
		boot_cancel(ticket->member);
	else if (!ticket->member) {
		TAILQ_REMOVE(&ticket->pool->waiting, ticket, link);
		ticket_free(ticket);
	}
}
