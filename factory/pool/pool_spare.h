/* Spares: clones that have come up as far as they do without a container (the agent answers, the
 * share is mounted, they have an identity) and were frozen again. The rehearsal of a container is
 * what is left of a clone. */
#pragma once

#include "factory/pool/pool.h"

/* Ends spares that the pool should not have any more. */
void spares_trim(struct pool *pool);
/* Begins one where it is wanted and nothing else is to be made. */
void spare_make(struct pool *pool);
/* Those that do not wait yet. */
unsigned spares_starting(const struct pool *pool);
/* The oldest, for a clone; NULL: there is none. It is the caller's to move and to load. */
struct pool_member *spare_take(struct pool *pool);
/* It waits, or has died. */
void spare_ready(struct pool_member *member);
void spare_failed(struct pool *pool, const struct error *why);
/* To be called before a machine is begun that is not made of a spare: where max_vms is reached, one
 * spare ends for it. */
void spares_make_way(struct host_room *room);
/* There is no room for a machine, because of `reason` (as of host_room_check()). True: spares are
 * ending to make room, and their pools look again when those are gone. False: no spare could make
 * room. */
bool spares_free_memory(struct host_room *room, const char *reason);
