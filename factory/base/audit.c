#include "factory/base/audit.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/strbuf.h"

/* The text may quote a guest: it is not to end the field early. */
static char *quote(const char *text)
{
	struct strbuf quoted = {};

	strbuf_adds(&quoted, "\"");
	for (const char *at = text; *at; at++) {
		if (*at == '"' || *at == '\\')
			strbuf_adds(&quoted, "\\");
		strbuf_add(&quoted, at, 1);
	}
	strbuf_adds(&quoted, "\"");
	return strbuf_steal(&quoted);
}

void audit_claim(const char *sandbox_id, const char *vm_id, const struct audit_lease *lease,
		 const char *origin, const char *reason, uint64_t took_us)
{
	_cleanup_free_ char *quoted = quote(reason);

	log_audit(sandbox_id,
		  "audit claim sandbox=%s vm=%s uid=%d pid=%d origin=%s reason=%s took_us=%lu",
		  sandbox_id, vm_id, (int)lease->claimer.uid, (int)lease->claimer.pid, origin,
		  quoted, (unsigned long)took_us);
}

void audit_release(const char *sandbox_id, const char *vm_id, const struct audit_lease *lease,
		   const char *reason)
{
	_cleanup_free_ char *quoted = quote(reason);
	uint64_t held_ms = (clock_monotonic_ns() - lease->since_ns) / 1000000;

	log_audit(sandbox_id,
		  "audit release sandbox=%s vm=%s uid=%d pid=%d by_uid=%d by_pid=%d reason=%s "
		  "held_ms=%lu",
		  sandbox_id, vm_id, (int)lease->claimer.uid, (int)lease->claimer.pid,
		  (int)lease->releaser.uid, (int)lease->releaser.pid, quoted,
		  (unsigned long)held_ms);
}
