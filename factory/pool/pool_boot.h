/* The last resort: a machine booted for one claim that no template fits. It is BOOTING, with its
 * ticket, from its start to its hand-over; it was never parked for anybody else, and its failure
 * says nothing about the template's clones. */
#pragma once

#include "factory/pool/pool.h"

/* Begins to boot a machine for the ticket, which stays the caller's on failure. */
_must_check_ int boot_start(struct pool_ticket *ticket, const struct vm_size *size,
			    struct error *err);
void boot_failed(struct pool_member *member, const struct error *why);
/* The claim is over; the machine goes with it. */
void boot_cancel(struct pool_member *member);
/* Fails the tickets of all boots under way; the caller ends their machines. */
void boots_fail(struct pool *pool, int number, const char *counted, const char *why);
