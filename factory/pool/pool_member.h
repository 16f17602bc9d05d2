/* A machine of a pool: a member, from the start of its machine to that one's end.
 *
 *   state     its machine is                                          leaves by
 *   NEW       about to be started or taken up                         that: any but LEFT
 *   COMING    SPAWNED, RESTORED, WARMING: being made for the pool     parking, end
 *   SPARE     SPAWNED, RESTORED, WARMING, SPARE: for a clone that is  a clone's beginning, end
 *             not begun yet (pool_spare.h)
 *   BOOTING   SPAWNED, WARMING: for one claim that no template fits   the claim, end
 *             (pool_boot.h)
 *   PARKED    PARKED                                                  a claim, end
 *   CLAIMED   being claimed, or CLAIMED                               end
 *   ENDING    on its way to GONE                                      GONE
 *   LEFT      GONE; freed by the loop
 *
 * A pool has a list of members for each state from COMING to ENDING; member_set_state() is the only
 * way from list to list, and tells the room on the host (host_room.h) of it. */
#pragma once

#include "base/list.h"
#include "base/state.h"
#include "factory/pool/pool.h"

enum member_state {
	MEMBER_NEW,
	MEMBER_COMING,
	MEMBER_PARKED,
	MEMBER_SPARE,
	MEMBER_CLAIMED,
	MEMBER_BOOTING,
	MEMBER_ENDING,
	MEMBER_LEFT,
};
#define MEMBER_STATES (MEMBER_LEFT + 1)
extern const struct state_machine member_states;

TAILQ_HEAD(member_list, pool_member);

struct pool_member {
	struct pool *pool;
	struct vm *vm;
	enum member_state state;
	TAILQ_ENTRY(pool_member) link;
	struct ttrpc_conn *conn;        /* of an unconfirmed claim; weak */
	struct pool_ticket *ticket;     /* the claim it is being handed to; weak */
	const char *origin;             /* static: "", or as of enum claim_origin */
	uint64_t cloned_ns, warming_ns; /* when it was begun; 0 for an adopted one */
	uint64_t parked_ns;
	struct audit_lease lease; /* of a claimed one */
	bool probing;             /* an answer is awaited */
	bool spare;               /* one that no clone has taken */
	void (*on_released)(void *userdata);
	void *released_data;
};

struct pool_member *member_new(struct pool *pool);
void member_set_state(struct pool_member *member, enum member_state state);
void member_end(struct pool_member *member, const char *reason);
/* The same for a parked one that nobody claimed; the reason (static) is counted. */
void member_end_parked(struct pool_member *member, const char *reason);
/* The options of a machine whose changes of state come to the pool. */
struct vm_options member_vm_options(struct pool_member *member,
				    const struct template_manifest *manifest);

struct pool_member *members_first(const struct pool *pool, enum member_state state);
unsigned members_count(const struct pool *pool, enum member_state state);
void members_end(struct pool *pool, enum member_state state, const char *reason);
/* Frees all of the pool's without touching the host. */
void members_forget(struct pool *pool);
