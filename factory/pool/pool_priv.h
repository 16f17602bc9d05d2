/* Inside of a pool, shared by pool.c, pool_member.c (members and lists), pool_claim.c (tickets),
 * pool_boot.c (machines for claims that no template fits), pool_make.c (how many, when, and what if
 * it fails), pool_spare.c, pool_watch.c (probes and age), pool_mode.c (what an operator asks for)
 * and pool_time.c. Nobody else includes it, but for the unit tests. */
#pragma once

#include "factory/pool/pool.h"
#include "factory/pool/pool_rate.h"
#include "factory/pool/pool_word.h"

TAILQ_HEAD(member_list, pool_member);
TAILQ_HEAD(ticket_list, pool_ticket);
TAILQ_HEAD(pool_waiter_list, pool_waiter);

struct pool_member {
	struct pool *pool;
	struct vm *vm;
	struct member_list *home; /* the list it is in; NULL once it left the pool */
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

struct pool_ticket {
	struct pool *pool;
	char *sandbox_id;
	enum claim_priority priority;
	pool_claim_fn fn; /* NULL once cancelled */
	void *userdata;
	enum claim_origin origin; /* CLONED: nothing was parked when it came */
	struct vm_size size;
	bool grows;         /* the machine has to, for that size */
	const char *reason; /* static; why, "" for a pooled one */
	unsigned tries;
	struct pool_member *member; /* while being handed over; else it is in `waiting` */
	uint64_t parked_ms;
	TAILQ_ENTRY(pool_ticket) link;
};

/* What a pool waits for, by the clock of its options (pool_time.c). */
enum pool_due {
	POOL_DUE_HOLD,    /* the processor is the claimer's until then */
	POOL_DUE_BACKOFF, /* no clone is begun until then */
	POOL_DUE_ROOM,    /* there was no room on the host: look again */
	POOL_DUE_SPARE,   /* no spare is begun until then */
	POOL_DUE_PROBE,
	POOL_DUE_REVIEW, /* one gets too old, or the target may have fallen */
	POOL_DUE_MAX_,
};

struct pool {
	struct pool_options options;
	const struct template_manifest *manifest; /* NULL: closed */
	struct member_list coming, spares, parked, claimed, booting, ending;
	struct ticket_list waiting; /* by priority, then arrival */
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

/* ---- pool.c */

/* Gives parked machines to waiting claims, then has pool_make() run from the loop. */
void pool_serve(struct pool *pool);
void pool_make_soon(struct pool *pool);
void pool_changed(struct pool *pool);

/* ---- pool_member.c */

/* The only way from list to list. */
void member_move(struct pool_member *member, struct member_list *to);
struct pool_member *member_new(struct pool *pool);
void member_end(struct pool_member *member, const char *reason);
/* The same for a parked one that nobody claimed; the reason (static) is counted. */
void member_end_parked(struct pool_member *member, const char *reason);
void members_end(struct member_list *list, const char *reason);
unsigned members_count(const struct member_list *list);
/* The options of a machine whose changes of state come to the pool. */
struct vm_options member_vm_options(struct pool_member *member,
				    const struct template_manifest *manifest);
/* Frees them without touching the host. */
void members_forget(struct member_list *list);

/* ---- pool_claim.c */

unsigned tickets_count(const struct pool *pool);
void tickets_serve(struct pool *pool);
/* All that wait; `counted` (static) is the reason in the counters, `why` the one they are told. */
void tickets_fail(struct pool *pool, int number, const char *counted, const char *why);
/* Those that are being handed a machine, which is about to be freed. */
void handovers_fail(struct pool *pool, int number, const char *counted, const char *why);
/* The last in line, so that `keep` are left. */
void tickets_fail_beyond(struct pool *pool, unsigned keep, const char *counted,
			 const struct error *err);

void ticket_fail(struct pool_ticket *ticket, const char *counted, const struct error *err);
/* Leaves the ticket to the machine's answer. */
void ticket_hand_over(struct pool_ticket *ticket, struct pool_member *member);

/* ---- pool_boot.c */

/* Begins to boot a machine for the ticket, which stays the caller's on failure. */
_must_check_ int boot_start(struct pool_ticket *ticket, const struct vm_size *size,
			    struct error *err);
void boot_parked(struct pool_member *member);
void boot_failed(struct pool_member *member, const struct error *why);
/* The claim is over; the machine goes with it. */
void boot_cancel(struct pool_member *member);
/* The tickets of all that are under way, which the caller ends. */
void boots_fail(struct pool *pool, int number, const char *counted, const char *why);

/* ---- pool_make.c */

/* Machines that should be parked now. */
unsigned pool_goal(const struct pool *pool);
/* Begins what is missing. Deferred, so that a claim is on its way before a clone is begun. */
void pool_make(void *pool);
/* Pools of the same room may have been waiting for what this one no longer needs. */
void pool_wake_neighbours(const struct pool *pool);
void clone_failed(struct pool *pool, const struct error *why);
void clone_parked(struct pool_member *member);
/* Clones may fail no longer: nothing is known against the template. */
void failures_forget(struct pool *pool);

/* How long to wait after so many failures in a row. */
uint64_t backoff_ms(unsigned failures);

/* ---- pool_spare.c */

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
/* Before a machine is begun that no spare becomes: one goes where there are max_vms. */
void spares_make_way(struct host_room *room);
/* There is no room for a machine, for `reason` as of host_room_check(): false, there will be no
 * more of it. Else spares are ending for it, and their pools look again when they are gone. */
bool spares_free_memory(struct host_room *room, const char *reason);

/* ---- pool_watch.c */

/* Why a parked machine should give way to a fresh one (static); NULL: it should not. */
const char *member_staleness(const struct pool_member *member);
struct pool_member *pool_find_stale(const struct pool *pool);
/* Ends what is parked beyond the goal: stale ones first, else one at most. */
void pool_trim(struct pool *pool);
void pool_probe(struct pool *pool);
/* Sets the time of the next look, where there is something to look for. */
void pool_plan_review(struct pool *pool);

/* ---- pool_mode.c */

/* Writes what was asked since the last time. Not while the pool is ending for the factory's end,
 * which takes nothing back. */
void pool_keep_word(struct pool *pool);
/* Answers those who wait for the pool to be warm or drained. */
void waiters_check(struct pool *pool);
void waiters_fail(struct pool *pool, int number, const char *reason);

/* ---- pool_time.c */

uint64_t pool_now_ns(const struct pool *pool);
void pool_set_due(struct pool *pool, enum pool_due due, uint64_t ms);
void pool_clear_due(struct pool *pool, enum pool_due due);
bool pool_awaits(const struct pool *pool, enum pool_due due);
/* Does what is due; `alarm` calls it, and a test that has moved its clock. */
void pool_tick(void *pool);
