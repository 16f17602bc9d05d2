/* Claims: the line they wait in, as tickets, and the handing over of a machine. */
#pragma once

#include "base/list.h"
#include "base/trace_context.h"
#include "factory/pool/pool.h"

TAILQ_HEAD(ticket_list, pool_ticket);

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
	struct trace_context trace; /* the claim's */
	TAILQ_ENTRY(pool_ticket) link;
};

unsigned tickets_count(const struct pool *pool);
void tickets_serve(struct pool *pool);
/* Fails all that wait; `counted` (static) is the reason in the counters, `why` the one they are
 * told. */
void tickets_fail(struct pool *pool, int number, const char *counted, const char *why);
/* Fails those that are being handed a machine; that one is about to be freed. */
void handovers_fail(struct pool *pool, int number, const char *counted, const char *why);
/* Fails the last in line, until `keep` are left. */
void tickets_fail_beyond(struct pool *pool, unsigned keep, const char *counted,
			 const struct error *err);

void ticket_fail(struct pool_ticket *ticket, const char *counted, const struct error *err);
/* Leaves the ticket to the machine's answer. */
void ticket_hand_over(struct pool_ticket *ticket, struct pool_member *member);
