/* Looking after parked machines and spares: probes, age, and more of them than wanted. */
#pragma once

#include "factory/pool/pool.h"

/* Why a parked machine should give way to a fresh one (static); NULL: it should not. */
const char *member_staleness(const struct pool_member *member);
struct pool_member *pool_find_stale(const struct pool *pool);
/* Ends what is parked beyond the goal: stale ones first, else one at most. */
void pool_trim(struct pool *pool);
void pool_probe(struct pool *pool);
/* Sets the time of the next look, where there is something to look for. */
void pool_plan_review(struct pool *pool);
