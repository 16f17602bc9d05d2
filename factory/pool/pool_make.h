/* How many machines a pool should have, beginning them, and what to do when that fails. */
#pragma once

#include "factory/pool/pool.h"

/* Machines that should be parked now. */
unsigned pool_goal(const struct pool *pool);
/* Begins what is missing. Deferred, so that a claim is on its way before a clone is begun. */
void pool_make(void *pool);
/* Pools of the same room may have been waiting for what this one no longer needs. */
void pool_wake_neighbours(const struct pool *pool);
/* Claims wait for more machines than may be made at once: other pools' refills give way. */
void pool_set_lacking(struct pool *pool, bool lacking);
void clone_failed(struct pool *pool, const struct error *why);
void clone_parked(struct pool_member *member);
/* Forgets the failures so far: clones are made as if none had failed. */
void failures_forget(struct pool *pool);

/* How long to wait after so many failures in a row. */
uint64_t backoff_ms(unsigned failures);
