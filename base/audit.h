/* The audit trail: a line of level "audit", which no setting of log_level leaves out, for each
 * action that somebody is responsible for, in a fixed form:
 *
 *   audit claim sandbox=ID vm=ID uid=N pid=N origin=pooled|cloned|… reason="…" took_us=N
 *   audit release sandbox=ID vm=ID uid=N pid=N by_uid=N by_pid=N reason="…" held_ms=N
 *   audit renew sandbox=ID vm=ID uid=N pid=N by_uid=N by_pid=N
 *   audit clone sandbox=ID vm=ID uid=N pid=N template=ID reason="…"
 *   audit policy sandbox=ID by_uid=N by_pid=N
 *   audit exec sandbox=ID by_uid=N by_pid=N command="…"
 *   audit VERB template="…" count=N by_uid=N by_pid=N
 *   audit refuse uid=N gid=N pid=N reason="…" more=N
 *   audit reload reason="…"
 *
 * uid and pid are the claimer's, by_uid and by_pid those of the one that asked for it; -1 where
 * there is none or it is not known any more: of a machine that an earlier factory handed out,
 * held_ms counts from this one's start. "clone" is a claimer's line, in its own log, of a machine
 * it has cloned without a factory. "policy" is a shim's line, of a policy that its guest is told to
 * take, and "exec" of a program that its guest's debug console is to run ("": its shell). VERB is
 * what an operator asks for (init, destroy, rebuild, warm, drain, pause, resume); template "" is
 * all of them, count is warm's.
 *
 * What stands in quotes may be anybody's words. In it a quote and a backslash are escaped by a
 * backslash, a line's end is \n, and every other byte that is not printable ASCII is \xNN: it ends
 * neither the field nor the line. All else are numbers, and names that id_is_valid()
 * (base/strings.h) has let through.
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
/* The lease as it was before. */
void audit_renew(const char *sandbox_id, const char *vm_id, const struct audit_lease *lease,
		 const struct peer *by);
/* Of the calling process. */
void audit_clone(const char *sandbox_id, const char *vm_id, const char *template_id,
		 const char *reason);
void audit_policy(const char *sandbox_id, const struct peer *by);
void audit_exec(const char *sandbox_id, const char *command, const struct peer *by);
void audit_order(const char *verb, const char *template_name, uint32_t count,
		 const struct peer *by);
/* A connection; `more`: refused since the last line. */
void audit_refuse(const struct peer *peer, const char *reason, unsigned more);
/* The configuration was read again; what came of it, in words. */
void audit_reload(const char *reason);
