/* The pool of one template: machines being made, parked, claimed and ending.
 *
 * A machine is in exactly one list, and its list is its state (pool.c, member_move):
 *
 *   coming   SPAWNED, RESTORED, WARMING     parked   PARKED
 *   claimed  being claimed, or CLAIMED      ending   on its way to GONE
 *
 * Claims are served in the order they came. One that finds nothing parked waits for the next
 * machine; machines are made for waiting claims and to refill the pool, never more than
 * clones_at_once together. A refill begins with the claim that makes it necessary: at once for
 * claims that wait, else when the claimer confirms (POOL_HOLD_MS at the latest), so that the
 * new machine does not take the processor from the sandbox that is being started. When clones
 * fail, making them backs off exponentially (1 s to 60 s), and after POOL_FAILURES_MAX in a
 * row the waiting claims are told why instead of waiting on.
 */
#pragma once

#include <stdint.h>

#include "base/list.h"
#include "base/loop.h"
#include "factory/counters.h"
#include "factory/vm/vm.h"
#include "proto/ttrpc_server.h"

#define POOL_FAILURES_MAX 3
#define POOL_HOLD_MS      1000

struct pool;
struct pool_member;
struct pool_ticket;

struct pool_options {
	struct loop *loop;
	const char *name;    /* template's, borrowed */
	const char *run_dir; /* borrowed */
	struct counters *counters;
	unsigned target; /* parked machines to keep */
	unsigned clones_at_once;
	unsigned max_vms;
	unsigned max_waiting;
	/* Something about the counts changed: called from the loop, never from within a pool
	 * function. */
	void (*on_change)(struct pool *pool, void *userdata);
	void *userdata;
};

struct pool *pool_new(const struct pool_options *options);

/* Machines still there are forgotten, not destroyed (see pool_drain). */
void pool_free(struct pool *pool);

/* From now on machines are made from this template (borrowed until the pool is drained);
 * parked ones of another template are destroyed. */
void pool_open(struct pool *pool, const struct template_manifest *manifest);

/* Stops making machines, fails the waiting claims with `reason`, destroys what is not claimed
 * and calls fn (may be NULL) once when the last of it is gone. */
void pool_drain(struct pool *pool, const char *reason, void (*fn)(void *userdata), void *userdata);

/* Takes up a machine that an earlier factory left. */
void pool_adopt(struct pool *pool, const struct journal_entry *entry,
		const struct template_manifest *manifest);

/* What a claim got. The descriptors of the hand-over belong to the callee. */
struct pool_grant {
	struct pool_member *member;
	const struct vm_handover *handover;
	bool cloned;        /* made for this claim, not waiting in the pool */
	const char *reason; /* why; "" for a pooled one */
	uint64_t parked_ms;
};

typedef void (*pool_claim_fn)(int number, const struct pool_grant *grant, const struct error *err,
			      void *userdata);

/* Claims a machine for a sandbox; fn is called once, from the loop. Waits without limit: the
 * deadline is the caller's, who ends it with pool_cancel(). -EAGAIN past max_waiting or max_vms,
 * -EEXIST where the sandbox has a machine already. */
_must_check_ int pool_claim(struct pool *pool, const char *sandbox_id, pool_claim_fn fn,
			    void *userdata, struct pool_ticket **ret_ticket, struct error *err);

/* fn is not called any more; a machine already taken for it is destroyed. */
void pool_cancel(struct pool_ticket *ticket);

struct pool_counts {
	unsigned target, parked, coming, claimed, waiting;
};
void pool_counts(const struct pool *pool, struct pool_counts *ret_counts);

/* Why the last clones failed; NULL while they do not. */
const char *pool_failure(const struct pool *pool);

struct pool_member *pool_find(struct pool *pool, const char *vm_id);
/* All members, coming first; NULL ends it. */
struct pool_member *pool_next(struct pool *pool, struct pool_member *after);
struct vm *pool_member_vm(const struct pool_member *member);
const char *pool_member_origin(const struct pool_member *member); /* "", "pooled", "cloned" */

/* The connection a claimed machine goes back with until it is confirmed. */
void pool_member_bind(struct pool_member *member, struct ttrpc_conn *conn);
void pool_conn_ended(struct pool *pool, struct ttrpc_conn *conn);
/* The claimer has its sandbox: from here on the machine lives until its release. */
void pool_confirm(struct pool_member *member);

/* Destroys a machine; fn (may be NULL) is called once it is gone. A second caller replaces no
 * first one: -EBUSY. */
_must_check_ int pool_release(struct pool_member *member, const char *reason,
			      void (*fn)(void *userdata), void *userdata);
