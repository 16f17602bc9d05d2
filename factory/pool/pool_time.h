/* What a pool waits for, by the clock of its options: one timer, for what is due first. */
#pragma once

#include "factory/pool/pool.h"

enum pool_due {
	POOL_DUE_HOLD,    /* the processor is the claimer's until then */
	POOL_DUE_BACKOFF, /* no clone is begun until then */
	POOL_DUE_ROOM,    /* there was no room on the host: look again */
	POOL_DUE_SPARE,   /* no spare is begun until then */
	POOL_DUE_PROBE,
	POOL_DUE_REVIEW, /* one gets too old, or the target may have fallen */
	POOL_DUE_MAX_,
};

uint64_t pool_now_ns(const struct pool *pool);
void pool_set_due(struct pool *pool, enum pool_due due, uint64_t ms);
void pool_clear_due(struct pool *pool, enum pool_due due);
bool pool_awaits(const struct pool *pool, enum pool_due due);
/* Does what is due; `alarm` calls it, and a test that has moved its clock. */
void pool_tick(void *pool);
