/* The pool's own body. Each part of it has a header and a file: members (pool_member.h), claims
 * (pool_claim.h), machines for claims that no template fits (pool_boot.h), how many there are and
 * what if one fails (pool_make.h), spares (pool_spare.h), probes and age (pool_watch.h), what an
 * operator asks for (pool_mode.h) and times (pool_time.h). Only these files include it, and the
 * unit tests. */
#pragma once

#include "factory/pool/pool_claim.h"
#include "factory/pool/pool_member.h"
#include "factory/pool/pool_mode.h"
#include "factory/pool/pool_rate.h"
#include "factory/pool/pool_time.h"
#include "factory/pool/pool_word.h"

struct pool {
	struct pool_options options;
	const struct template_manifest *manifest;  /* NULL: closed */
	struct member_list members[MEMBER_STATES]; /* those of NEW and LEFT stay empty */
	struct ticket_list waiting;                /* by priority, then arrival */
	struct pool_rate rate;
	enum pool_mode mode;
	struct pool_word kept; /* mode and warm, as they are on disk */
	unsigned warm; /* parked machines asked for beyond the target, less those claimed since */
	bool filling;  /* a refill has begun and goes on to the target */
	bool lacking;  /* claims wait for more machines than may be made at once */
	LIST_ENTRY(pool) neighbour; /* of the same room */
	const char *held;           /* static; why there is no room for a refill; NULL: there is */
	unsigned failures;          /* in a row */
	char *failure;              /* why the last one failed */
	unsigned lost_spares;       /* since a clone parked */
	struct pool_waiter_list waiters;
	struct loop_timer *alarm;       /* for the first of due_ns */
	uint64_t due_ns[POOL_DUE_MAX_]; /* 0: not waited for */
	bool change_pending;
	bool refill_pending;
	bool stopping; /* on_drained waits for the hand-overs too */
	void (*on_drained)(void *userdata);
	void *drained_data;
};

/* Gives parked machines to waiting claims, then has pool_make() run from the loop. */
void pool_serve(struct pool *pool);
void pool_make_soon(struct pool *pool);
void pool_changed(struct pool *pool);
