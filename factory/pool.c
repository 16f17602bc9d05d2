#include "factory/pool.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/socket.h"
#include "factory/vm/journal.h"

#define BACKOFF_MIN_MS 1000
#define BACKOFF_MAX_MS 60000

/* A claim may meet machines that die under its hands; it tries so many before it gives up. */
#define CLAIM_TRIES_MAX 3

TAILQ_HEAD(member_list, pool_member);
TAILQ_HEAD(ticket_list, pool_ticket);

struct pool_member {
	struct pool *pool;
	struct vm *vm;
	struct member_list *home; /* the list it is in; NULL once it left the pool */
	TAILQ_ENTRY(pool_member) link;
	struct ttrpc_conn *conn;    /* of an unconfirmed claim; weak */
	struct pool_ticket *ticket; /* the claim it is being handed to; weak */
	const char *origin;         /* static: "", "pooled", "cloned" */
	void (*on_released)(void *userdata);
	void *released_data;
};

struct pool_ticket {
	struct pool *pool;
	char *sandbox_id;
	pool_claim_fn fn; /* NULL once cancelled */
	void *userdata;
	bool cloned; /* nothing was parked when it came */
	char *reason;
	unsigned tries;
	struct pool_member *member; /* while being handed over; else it is in `waiting` */
	uint64_t parked_ms;
	TAILQ_ENTRY(pool_ticket) link;
};

struct pool {
	struct pool_options options;
	const struct template_manifest *manifest; /* NULL: closed */
	struct member_list coming, parked, claimed, ending;
	struct ticket_list waiting;
	struct loop_timer *backoff;
	bool backing_off;
	struct loop_timer *hold; /* runs while a claimer starts its sandbox */
	bool holding;
	unsigned failures; /* in a row */
	char *failure;     /* why the last one failed */
	bool change_pending;
	bool refill_pending;
	void (*on_drained)(void *userdata);
	void *drained_data;
};

static void pool_serve(struct pool *pool);

/* ---------------------------------------------------------------- members */

static void change_report(void *userdata)
{
	struct pool *pool = userdata;

	pool->change_pending = false;
	if (pool->on_drained && TAILQ_EMPTY(&pool->coming) && TAILQ_EMPTY(&pool->parked) &&
	    TAILQ_EMPTY(&pool->ending)) {
		void (*fn)(void *) = steal_ptr(pool->on_drained);
		fn(pool->drained_data);
	}
	if (pool->options.on_change)
		pool->options.on_change(pool, pool->options.userdata);
}

static void pool_changed(struct pool *pool)
{
	if (pool->change_pending)
		return;
	pool->change_pending = true;
	loop_defer(pool->options.loop, change_report, pool);
}

static void member_leave(struct pool_member *member)
{
	if (member->home)
		TAILQ_REMOVE(member->home, member, link);
	member->home = NULL;
	pool_changed(member->pool);
}

/* The only way from list to list. */
static void member_move(struct pool_member *member, struct member_list *to)
{
	if (member->home == to)
		return;
	member_leave(member);
	member->home = to;
	TAILQ_INSERT_TAIL(to, member, link);
}

static struct pool_member *member_new(struct pool *pool)
{
	struct pool_member *member = xnew(struct pool_member);
	member->pool = pool;
	member->origin = "";
	return member;
}

static void member_free(void *userdata)
{
	struct pool_member *member = userdata;

	vm_free(member->vm);
	free(member);
}

static void member_end(struct pool_member *member, const char *reason)
{
	if (member->home == &member->pool->ending)
		return;
	member_move(member, &member->pool->ending);
	vm_destroy(member->vm, reason);
}

static void list_end(struct member_list *list, const char *reason)
{
	struct pool_member *member, *next;

	TAILQ_FOREACH_SAFE (member, list, link, next)
		member_end(member, reason);
}

/* ---------------------------------------------------------------- tickets */

static void ticket_free(struct pool_ticket *ticket)
{
	free(ticket->sandbox_id);
	free(ticket->reason);
	free(ticket);
}

static void ticket_fail(struct pool_ticket *ticket, const struct error *err)
{
	if (!ticket->member)
		TAILQ_REMOVE(&ticket->pool->waiting, ticket, link);
	if (ticket->fn)
		ticket->fn(-err->number, NULL, err, ticket->userdata);
	ticket_free(ticket);
}

static void tickets_fail(struct pool *pool, int number, const char *reason)
{
	_cleanup_(error_done) struct error err = {};
	struct pool_ticket *ticket, *next;

	(void)error_set(&err, number, "no machine for the sandbox: %s", reason);
	TAILQ_FOREACH_SAFE (ticket, &pool->waiting, link, next)
		ticket_fail(ticket, &err);
}

static void handover_close(const struct vm_handover *handover)
{
	close_fd(handover->agent_fd);
	close_fd(handover->qmp_fd);
	close_fd(handover->pidfd);
}

/* The machine turned out bad: the claim takes its place at the head of the line again. */
static void ticket_retry(struct pool_ticket *ticket, const struct error *err)
{
	struct pool *pool = ticket->pool;

	log_warning(ticket->sandbox_id, "claim meets a bad machine: %s", error_message(err));
	if (!ticket->fn || ++ticket->tries >= CLAIM_TRIES_MAX || !pool->manifest) {
		ticket_fail(ticket, err);
		return;
	}
	ticket->member = NULL;
	TAILQ_INSERT_HEAD(&pool->waiting, ticket, link);
	pool_serve(pool);
}

/* ---------------------------------------------------------------- room for the claimer */

static void hold_end(void *userdata)
{
	struct pool *pool = userdata;

	pool->holding = false;
	loop_timer_stop(pool->hold);
	pool_serve(pool);
}

static void hold_begin(struct pool *pool)
{
	pool->holding = true;
	loop_timer_start(pool->hold, POOL_HOLD_MS);
}

/* ---------------------------------------------------------------- handing over */

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
		handover_close(handover);
		member_end(member, "its claimer went away");
		ticket_free(ticket);
		return;
	}
	counters_add(member->pool->options.counters,
		     ticket->cloned ? COUNTER_CLAIMS_CLONED : COUNTER_CLAIMS_POOLED,
		     ticket->reason);
	struct pool_grant grant = {
		.member = member,
		.handover = handover,
		.cloned = ticket->cloned,
		.reason = ticket->reason,
		.parked_ms = ticket->parked_ms,
	};
	hold_begin(member->pool);
	ticket->fn(0, &grant, NULL, ticket->userdata);
	ticket_free(ticket);
}

static void ticket_take(struct pool_ticket *ticket, struct pool_member *member)
{
	TAILQ_REMOVE(&ticket->pool->waiting, ticket, link);
	ticket->member = member;
	ticket->parked_ms = (clock_monotonic_ns() - vm_state_since_ns(member->vm)) / 1000000;
	member->ticket = ticket;
	member->origin = ticket->cloned ? "cloned" : "pooled";
	member_move(member, &ticket->pool->claimed);
	vm_claim(member->vm, ticket->sandbox_id, on_vm_claimed, ticket);
}

/* ---------------------------------------------------------------- making machines */

static void on_backoff_over(void *userdata)
{
	struct pool *pool = userdata;

	pool->backing_off = false;
	pool_serve(pool);
}

static void clone_failed(struct pool *pool, const struct error *why)
{
	uint64_t wait = BACKOFF_MIN_MS;

	for (unsigned i = 0; i < pool->failures && wait < BACKOFF_MAX_MS; i++)
		wait *= 2;
	if (wait > BACKOFF_MAX_MS)
		wait = BACKOFF_MAX_MS;
	pool->failures++;
	replace_string(&pool->failure, error_message(why));
	counters_add(pool->options.counters, COUNTER_CLONES_FAILED, "");
	log_error(pool->options.name, "clone failed (%u in a row), next try in %lu s: %s",
		  pool->failures, (unsigned long)(wait / 1000), error_message(why));

	pool->backing_off = true;
	loop_timer_start(pool->backoff, wait);
	if (pool->failures >= POOL_FAILURES_MAX)
		tickets_fail(pool, ENOTCONN, pool->failure);
}

static void clone_parked(struct pool *pool)
{
	pool->failures = 0;
	replace_string(&pool->failure, NULL);
	counters_add(pool->options.counters, COUNTER_CLONES_PARKED, "");
}

static void member_gone(struct pool_member *member, enum vm_state last, const struct error *why)
{
	struct pool *pool = member->pool;
	bool wanted = member->home == &pool->ending;

	if (member->on_released)
		member->on_released(member->released_data);
	member_leave(member);
	loop_defer(pool->options.loop, member_free, member);
	if (wanted)
		return;

	if (last == VM_PARKED) {
		log_warning(vm_id(member->vm), "parked machine lost: %s", error_message(why));
		counters_add(pool->options.counters, COUNTER_PARKED_LOST, "");
	} else if (last == VM_CLAIMED) {
		log_info(vm_id(member->vm), "machine of sandbox %s ended: %s",
			 vm_sandbox_id(member->vm), error_message(why));
		counters_add(pool->options.counters, COUNTER_SANDBOXES_ENDED, "");
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
	case VM_SPAWNED:
	case VM_RESTORED:
	case VM_WARMING:
	case VM_CLAIMED:
		return;
	case VM_PARKED:
		if (member->home != &pool->coming)
			return;
		clone_parked(pool);
		member_move(member, &pool->parked);
		break;
	case VM_GONE:
		member_gone(member, old, why);
		break;
	}
	pool_serve(pool);
}

static struct vm_options vm_options_for(struct pool_member *member,
					const struct template_manifest *manifest)
{
	return (struct vm_options){
		.loop = member->pool->options.loop,
		.manifest = manifest,
		.run_dir = member->pool->options.run_dir,
		.on_state = on_vm_state,
		.userdata = member,
	};
}

static bool clone_start(struct pool *pool)
{
	_cleanup_(error_done) struct error err = {};
	struct pool_member *member = member_new(pool);
	struct vm_options options = vm_options_for(member, pool->manifest);

	if (vm_clone(&options, &member->vm, &err) < 0) {
		free(member);
		clone_failed(pool, &err);
		return false;
	}
	member_move(member, &pool->coming);
	return true;
}

static unsigned members_count(const struct member_list *list)
{
	const struct pool_member *member;
	unsigned count = 0;

	TAILQ_FOREACH (member, list, link)
		count++;
	return count;
}

static unsigned tickets_count(const struct pool *pool)
{
	const struct pool_ticket *ticket;
	unsigned count = 0;

	TAILQ_FOREACH (ticket, &pool->waiting, link)
		count++;
	return count;
}

/* Deferred, so that a claim is on its way before a new machine is begun. */
static void refill(void *userdata)
{
	struct pool *pool = userdata;
	unsigned parked = members_count(&pool->parked);
	unsigned coming = members_count(&pool->coming);
	unsigned all = parked + coming + members_count(&pool->claimed);
	unsigned wanted = pool->options.target + tickets_count(pool);

	pool->refill_pending = false;
	if (pool->holding && TAILQ_EMPTY(&pool->waiting))
		return;
	while (pool->manifest && !pool->backing_off && parked + coming < wanted &&
	       coming < pool->options.clones_at_once && all < pool->options.max_vms) {
		if (!clone_start(pool))
			return;
		coming++;
		all++;
	}
}

/* Gives parked machines to waiting claims, then makes what is missing. */
static void pool_serve(struct pool *pool)
{
	struct pool_ticket *ticket;
	struct pool_member *member;

	while ((ticket = TAILQ_FIRST(&pool->waiting)) && (member = TAILQ_FIRST(&pool->parked)))
		ticket_take(ticket, member);
	if (!pool->refill_pending) {
		pool->refill_pending = true;
		loop_defer(pool->options.loop, refill, pool);
	}
}

/* ---------------------------------------------------------------- the pool */

struct pool *pool_new(const struct pool_options *options)
{
	struct pool *pool = xnew(struct pool);

	pool->options = *options;
	TAILQ_INIT(&pool->coming);
	TAILQ_INIT(&pool->parked);
	TAILQ_INIT(&pool->claimed);
	TAILQ_INIT(&pool->ending);
	TAILQ_INIT(&pool->waiting);
	pool->backoff = loop_timer_new(options->loop, on_backoff_over, pool);
	pool->hold = loop_timer_new(options->loop, hold_end, pool);
	return pool;
}

static void list_forget(struct member_list *list)
{
	struct pool_member *member, *next;

	TAILQ_FOREACH_SAFE (member, list, link, next) {
		TAILQ_REMOVE(list, member, link);
		member_free(member);
	}
}

/* Runs after whatever the pool itself has deferred. */
static void pool_end(void *userdata)
{
	struct pool *pool = userdata;

	loop_timer_free(pool->backoff);
	loop_timer_free(pool->hold);
	free(pool->failure);
	free(pool);
}

void pool_free(struct pool *pool)
{
	if (!pool)
		return;
	tickets_fail(pool, ECANCELED, "the factory is stopping");
	list_forget(&pool->coming);
	list_forget(&pool->parked);
	list_forget(&pool->claimed);
	list_forget(&pool->ending);
	pool->manifest = NULL;
	pool->on_drained = NULL;
	pool->options.on_change = NULL;
	loop_defer(pool->options.loop, pool_end, pool);
}

void pool_open(struct pool *pool, const struct template_manifest *manifest)
{
	struct pool_member *member, *next;

	pool->manifest = manifest;
	pool->failures = 0;
	replace_string(&pool->failure, NULL);
	TAILQ_FOREACH_SAFE (member, &pool->parked, link, next) {
		if (!str_equal(vm_template_id(member->vm), manifest->id))
			member_end(member, "its template was replaced");
	}
	pool_changed(pool); /* adopted machines may have filled it before it was open */
	pool_serve(pool);
}

void pool_drain(struct pool *pool, const char *reason, void (*fn)(void *userdata), void *userdata)
{
	pool->manifest = NULL;
	pool->backing_off = false;
	loop_timer_stop(pool->backoff);
	tickets_fail(pool, ENOTCONN, reason);
	list_end(&pool->coming, reason);
	list_end(&pool->parked, reason);
	pool->on_drained = fn;
	pool->drained_data = userdata;
	pool_changed(pool);
}

void pool_adopt(struct pool *pool, const struct journal_entry *entry,
		const struct template_manifest *manifest)
{
	_cleanup_(error_done) struct error err = {};
	struct pool_member *member = member_new(pool);
	struct vm_options options = vm_options_for(member, manifest);

	if (vm_adopt(&options, entry, &member->vm, &err) < 0) {
		log_warning(entry->id, "cannot be taken up: %s", error_message(&err));
		free(member);
		return;
	}
	counters_add(pool->options.counters, COUNTER_ADOPTED, vm_state_to_string(entry->state));
	member_move(member, entry->state == VM_CLAIMED ? &pool->claimed : &pool->coming);
}

/* ---------------------------------------------------------------- claims */

static bool sandbox_is_served(const struct pool *pool, const char *sandbox_id)
{
	const struct pool_member *member;
	const struct pool_ticket *ticket;

	TAILQ_FOREACH (member, &pool->claimed, link) {
		const char *held = member->ticket ? member->ticket->sandbox_id
						  : vm_sandbox_id(member->vm);
		if (str_equal(held, sandbox_id))
			return true;
	}
	TAILQ_FOREACH (ticket, &pool->waiting, link) {
		if (str_equal(ticket->sandbox_id, sandbox_id))
			return true;
	}
	return false;
}

static int claim_check(const struct pool *pool, const char *sandbox_id, struct error *err)
{
	if (sandbox_is_served(pool, sandbox_id))
		return error_set(err, EEXIST, "sandbox %s has a machine already", sandbox_id);
	if (tickets_count(pool) >= pool->options.max_waiting)
		return error_set(err, EAGAIN, "%u claims are waiting already (max_waiting)",
				 pool->options.max_waiting);
	if (TAILQ_EMPTY(&pool->parked) && TAILQ_EMPTY(&pool->coming) &&
	    members_count(&pool->claimed) >= pool->options.max_vms)
		return error_set(err, EAGAIN, "all %u machines are in use (max_vms)",
				 pool->options.max_vms);
	if (pool->failures >= POOL_FAILURES_MAX && TAILQ_EMPTY(&pool->parked))
		return error_set(err, ENOTCONN, "clones of template %s fail: %s",
				 pool->options.name, pool->failure);
	return 0;
}

static char *empty_reason(const struct pool *pool)
{
	if (!pool->manifest)
		return xstrdup("the template was not ready");
	return xasprintf("the pool was empty (target %u)", pool->options.target);
}

int pool_claim(struct pool *pool, const char *sandbox_id, pool_claim_fn fn, void *userdata,
	       struct pool_ticket **ret_ticket, struct error *err)
{
	int r = claim_check(pool, sandbox_id, err);
	if (r < 0)
		return r;

	struct pool_ticket *ticket = xnew(struct pool_ticket);
	ticket->pool = pool;
	ticket->sandbox_id = xstrdup(sandbox_id);
	ticket->fn = fn;
	ticket->userdata = userdata;
	ticket->cloned = TAILQ_EMPTY(&pool->parked);
	ticket->reason = ticket->cloned ? empty_reason(pool) : xstrdup("");
	TAILQ_INSERT_TAIL(&pool->waiting, ticket, link);
	*ret_ticket = ticket;
	pool_serve(pool);
	return 0;
}

void pool_cancel(struct pool_ticket *ticket)
{
	ticket->fn = NULL;
	if (!ticket->member) {
		TAILQ_REMOVE(&ticket->pool->waiting, ticket, link);
		ticket_free(ticket);
	}
}

/* ---------------------------------------------------------------- looking and ending */

void pool_counts(const struct pool *pool, struct pool_counts *ret_counts)
{
	*ret_counts = (struct pool_counts){
		.target = pool->options.target,
		.parked = members_count(&pool->parked),
		.coming = members_count(&pool->coming),
		.claimed = members_count(&pool->claimed),
		.waiting = tickets_count(pool),
	};
}

const char *pool_failure(const struct pool *pool)
{
	return pool->failure;
}

struct pool_member *pool_next(struct pool *pool, struct pool_member *after)
{
	struct member_list *lists[] = { &pool->coming, &pool->parked, &pool->claimed,
					&pool->ending };
	size_t i = 0;

	if (after) {
		struct pool_member *next = TAILQ_NEXT(after, link);
		if (next)
			return next;
		while (lists[i++] != after->home)
			;
	}
	for (; i < ARRAY_SIZE(lists); i++) {
		if (!TAILQ_EMPTY(lists[i]))
			return TAILQ_FIRST(lists[i]);
	}
	return NULL;
}

struct pool_member *pool_find(struct pool *pool, const char *id)
{
	for (struct pool_member *m = pool_next(pool, NULL); m; m = pool_next(pool, m)) {
		if (str_equal(vm_id(m->vm), id))
			return m;
	}
	return NULL;
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

	TAILQ_FOREACH_SAFE (member, &pool->claimed, link, next) {
		if (member->conn != conn)
			continue;
		member->conn = NULL;
		if (vm_confirmed(member->vm))
			continue;
		log_warning(vm_id(member->vm), "taken back: its claimer went before confirming");
		counters_add(pool->options.counters, COUNTER_CLAIMS_TAKEN_BACK, "");
		member_end(member, "its claimer went before confirming");
		hold_end(pool);
	}
}

void pool_confirm(struct pool_member *member)
{
	vm_confirm(member->vm);
	hold_end(member->pool);
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
