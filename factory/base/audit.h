/* The audit trail: one line for each claim of a machine and one for its end, in a fixed form
 *
 *   audit claim sandbox=ID vm=ID uid=N pid=N origin=pooled|cloned|… reason="…" took_us=N
 *   audit release sandbox=ID vm=ID uid=N pid=N by_uid=N by_pid=N reason="…" held_ms=N
 *
 * of level "audit", which no setting of log_level leaves out. uid and pid are the claimer's,
 * by_uid and by_pid those of the one that asked for the release; -1 where there is none or it
 * is not known any more: of a machine that an earlier factory handed out, held_ms counts from
 * this one's start. Quotes and backslashes in a
 * reason are escaped by a backslash.
 */
#pragma once

#include <stdint.h>

#include "base/socket.h"

/* Who has a machine, and since when. */
struct audit_lease {
	struct peer claimer;  /* uid and pid -1: not known */
	struct peer releaser; /* the same: nobody asked */
	uint64_t since_ns;    /* CLOCK_MONOTONIC; 0: nobody has it */
};

#define AUDIT_NOBODY ((struct peer){ .pid = -1, .uid = (uid_t)-1, .gid = (gid_t)-1 })

void audit_claim(const char *sandbox_id, const char *vm_id, const struct audit_lease *lease,
		 const char *origin, const char *reason, uint64_t took_us);
void audit_release(const char *sandbox_id, const char *vm_id, const struct audit_lease *lease,
		   const char *reason);
