/* The pool of one template: machines being made, parked, claimed and ending.
 *
 * What a machine is to its pool is a state with a list of its own (factory/pool/pool_member.h).
 *
 * Claims are served by priority, then in the order they came. One that finds nothing parked
 * waits for the next machine. Machines are made for waiting claims first (clones_at_once
 * together); only when nobody waits, here or at another pool, is the pool refilled (policy.burst
 * together, with those of other pools), up to its target and never beyond. A refill begins with the
 * claim that makes it necessary, when the claimer confirms (POOL_HOLD_MS at the latest), so that
 * the new machine does not take the processor from the sandbox that is being started.
 *
 * The policy (factory/store/pool_policy.h) says how many are kept; "auto" follows the claims
 * (factory/pool/pool_rate.h). Where the host has no room (factory/pool/host_room.h) nothing is
 * made, and claims that would need a new machine are refused at once.
 *
 * A clone takes a spare where there is one: a machine that has come up already and was frozen.
 * Spares (policy.spares) are made one at a time, when nothing else is to be made in any pool, and
 * while the pool is RUNNING and its clones succeed. They take room only where nobody else wants it:
 * at max_vms, one spare ends for each machine that is begun; and where memory is short, all spares
 * end before a claim is refused. A spare that dies is made again after a back-off of its own.
 *
 * A parked machine that is too old, or of another template than the pool's, is given up when a
 * fresh one has parked, one at a time. One that fails its probe is destroyed and replaced.
 *
 * When clones fail, making them backs off exponentially (1 s, 2 s, ... 60 s), one at a time.
 * After POOL_FAILURES_MAX in a row the template is broken: claims are told why at once, and
 * it is tried again every POOL_BROKEN_RETRY_MS.
 */
#pragma once

#include <stdint.h>

#include "base/audit.h"
#include "base/list.h"
#include "base/loop.h"
#include "factory/base/metrics.h"
#include "factory/pool/host_room.h"
#include "factory/store/pool_policy.h"
#include "factory/vm/vm.h"
#include "proto/claim_priority.h"
#include "proto/ttrpc_server.h"

#define POOL_FAILURES_MAX    5
#define POOL_BROKEN_RETRY_MS 60000
#define POOL_HOLD_MS         1000

struct pool;
struct pool_member;
struct pool_ticket;

struct pool_options {
	struct loop *loop;
	const char *name;    /* template's, borrowed */
	const char *run_dir; /* borrowed */
	const char *word;    /* file of factory/pool/pool_word.h, borrowed; NULL: nothing is kept */
	struct jail_settings jail;
	struct metrics *metrics;
	struct host_room *room; /* borrowed; shared with the other pools */
	struct pool_policy policy;
	unsigned clones_at_once;
	unsigned max_waiting;
	uint64_t lease_grace_ms;  /* see vm_lease(); 0: its default */
	bool merge_pages;         /* of its machines, see struct vm_options */
	const char *scratch_dir;  /* ditto; borrowed */
	uint64_t (*now_ns)(void); /* NULL: CLOCK_MONOTONIC */
	/* Something about the counts changed: called from the loop, never from within a pool
	 * function. */
	void (*on_change)(struct pool *pool, void *userdata);
	void *userdata;
};

struct pool *pool_new(const struct pool_options *options);

/* Machines still there are forgotten, not destroyed (see pool_close). */
void pool_free(struct pool *pool);

/* From now on machines are made from this template (borrowed until the next one, or until the
 * pool is drained); parked ones of another template are destroyed. */
void pool_open(struct pool *pool, const struct template_manifest *manifest);

/* The same for a pool that is open: what is parked is still served, and is replaced one by one,
 * so that the pool is never empty. What is coming from the old template is destroyed. */
void pool_roll(struct pool *pool, const struct template_manifest *manifest);

/* Changes the limits of pool_options while running; those of its room may have changed as well. */
void pool_set_limits(struct pool *pool, unsigned clones_at_once, unsigned max_waiting);
/* What is parked beyond a fixed target goes at once, and so do spares. */
void pool_set_policy(struct pool *pool, const struct pool_policy *policy);

/* No template came: fails the waiting claims with `reason`, and destroys what is not claimed. What
 * an operator asked for is kept for the next. */
void pool_give_up(struct pool *pool, const char *reason);
/* The same where the template ends; calls fn (may be NULL) once when the last machine that is not
 * claimed is gone. */
void pool_close(struct pool *pool, const char *reason, void (*fn)(void *userdata), void *userdata);

/* The same for the factory's end: claims whose machine is being handed over may come to their
 * confirmation first, so that no machine is left without an owner. */
void pool_stop(struct pool *pool, const char *reason, void (*fn)(void *userdata), void *userdata);

/* Takes up a machine that an earlier factory left. */
void pool_adopt(struct pool *pool, const struct journal_entry *entry,
		const struct template_manifest *manifest);

/* How a claimed machine was made. */
enum claim_origin { CLAIM_POOLED, CLAIM_CLONED, CLAIM_BOOTED };
DECLARE_STRING_TABLE(claim_origin, enum claim_origin); /* "pooled", ... */

/* What a claim got. The descriptors of the hand-over belong to the callee. */
struct pool_grant {
	struct pool_member *member;
	const struct vm_handover *handover;
	enum claim_origin origin;
	const char *reason; /* why; "" for a pooled one */
	uint64_t parked_ms;
};

typedef void (*pool_claim_fn)(int number, const struct pool_grant *grant, const struct error *err,
			      void *userdata);

struct pool_request {
	const char *sandbox_id;
	enum claim_priority priority;
	struct vm_size size; /* at least; within what the template's machines can grow to */
	/* NULL: served by the pool. Else no template fits, and a machine of this size (both
	 * numbers, not 0) is booted from the pool's template. */
	const struct vm_size *boot;
};

/* Claims a machine for a sandbox; fn is called once, from the loop. Waits without limit: the
 * deadline is the caller's, who ends it with pool_cancel(). -EAGAIN past max_waiting or where
 * the host has no room for the machine it would need, -EEXIST where the sandbox has a machine
 * already, -ENOTCONN where the template is broken; of a boot also host_room_check_boot()'s.
 * Failures are counted here. */
_must_check_ int pool_claim(struct pool *pool, const struct pool_request *request, pool_claim_fn fn,
			    void *userdata, struct pool_ticket **ret_ticket, struct error *err);

/* fn is not called any more; a machine already taken for it is destroyed. */
void pool_cancel(struct pool_ticket *ticket);

struct pool_counts {
	unsigned target, parked, coming, claimed, waiting;
	unsigned spares, spares_target; /* those that wait; while they start they are coming */
	bool automatic;                 /* the target follows claims_per_s */
	double claims_per_s;
};
void pool_counts(const struct pool *pool, struct pool_counts *ret_counts);

/* Why the last clones failed; NULL while they do not. */
const char *pool_failure(const struct pool *pool);
/* After such failures the next clone is tried now: somebody may have removed their cause. */
void pool_retry(struct pool *pool);
/* POOL_FAILURES_MAX of them failed in a row. */
bool pool_is_broken(const struct pool *pool);
/* Why nothing is made for the pool now; NULL: nothing stands in the way. */
const char *pool_obstacle(const struct pool *pool);
/* Why the machines of the template before a pool_roll() are not replaced now; NULL: they are. */
const char *pool_roll_obstacle(const struct pool *pool);
/* Why fewer than `count` will be parked: nothing is made now, and what is on its way is not enough.
 * NULL: nothing stands in the way. */
const char *pool_shortfall(const struct pool *pool, unsigned count);

/* ---- what an operator asks for; kept for the next factory (factory/pool/pool_word.h)
 *
 *   RUNNING   refilled
 *   PAUSED    not refilled; what is parked is served, and spares are used
 *   DRAINED   not refilled, and nothing is parked or spare
 *
 * In each of them a claim that finds nothing parked gets a machine made for it. */
enum pool_mode { POOL_RUNNING, POOL_PAUSED, POOL_DRAINED };
DECLARE_STRING_TABLE(pool_mode, enum pool_mode); /* "running", ... */

/* Called once, from the loop; -ECANCELED where another word from the operator came first. */
typedef void (*pool_done_fn)(int number, const struct error *err, void *userdata);

enum pool_mode pool_mode(const struct pool *pool);
void pool_pause(struct pool *pool); /* a drained one stays so */
void pool_resume(struct pool *pool);
/* DRAINED: destroys what is parked, spare, or coming for no claim. */
void pool_drain(struct pool *pool, pool_done_fn fn, void *userdata);
/* At least `count` are to be parked; each claim takes one off that number. fn is called when
 * they are, or with why they cannot be. -EBUSY where nothing is made now, -EAGAIN where the
 * host has no room for them; fn is not called then. */
_must_check_ int pool_warm(struct pool *pool, unsigned count, pool_done_fn fn, void *userdata,
			   struct error *err);

struct pool_member *pool_find(struct pool *pool, const char *vm_id);
/* All members, coming first; NULL ends it. */
struct pool_member *pool_next(struct pool *pool, struct pool_member *after);
struct vm *pool_member_vm(const struct pool_member *member);
const char *pool_member_origin(
	const struct pool_member *member); /* "", "pooled", "cloned", "booted" */

/* Who has it, for the audit line of its end; the claimer is filled in by whom it was told to. */
struct audit_lease *pool_member_lease(struct pool_member *member);

/* The connection a claimed machine goes back with until it is confirmed. */
void pool_member_bind(struct pool_member *member, struct ttrpc_conn *conn);
void pool_conn_ended(struct pool *pool, struct ttrpc_conn *conn);
/* The claimer has its sandbox: from here on the machine lives until its release. */
void pool_confirm(struct pool_member *member);

/* Destroys a machine; fn (may be NULL) is called once it is gone. -EBUSY: an earlier caller waits
 * for that already. */
_must_check_ int pool_release(struct pool_member *member, const char *reason,
			      void (*fn)(void *userdata), void *userdata);
