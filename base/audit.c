#include "base/audit.h"

#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/strbuf.h"

static char *quote(const char *text)
{
	struct strbuf quoted = {};

	strbuf_adds(&quoted, "\"");
	for (const char *at = text; *at; at++) {
		unsigned char c = (unsigned char)*at;
		if (c == '"' || c == '\\')
			strbuf_addf(&quoted, "\\%c", c);
		else if (c == '\n')
			strbuf_adds(&quoted, "\\n");
		else if (c < 0x20 || c > 0x7e)
			strbuf_addf(&quoted, "\\x%02x", c);
		else
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

void audit_renew(const char *sandbox_id, const char *vm_id, const struct audit_lease *lease,
		 const struct peer *by)
{
	log_audit(sandbox_id, "audit renew sandbox=%s vm=%s uid=%d pid=%d by_uid=%d by_pid=%d",
		  sandbox_id, vm_id, (int)lease->claimer.uid, (int)lease->claimer.pid, (int)by->uid,
		  (int)by->pid);
}

void audit_clone(const char *sandbox_id, const char *vm_id, const char *template_id,
		 const char *reason)
{
	_cleanup_free_ char *quoted = quote(reason);

	log_audit(sandbox_id, "audit clone sandbox=%s vm=%s uid=%d pid=%d template=%s reason=%s",
		  sandbox_id, vm_id, (int)getuid(), (int)getpid(), template_id, quoted);
}

void audit_policy(const char *sandbox_id, const struct peer *by)
{
	log_audit(sandbox_id, "audit policy sandbox=%s by_uid=%d by_pid=%d", sandbox_id,
		  (int)by->uid, (int)by->pid);
}

void audit_exec(const char *sandbox_id, const char *command, const struct peer *by)
{
	_cleanup_free_ char *quoted = quote(command);

	log_audit(sandbox_id, "audit exec sandbox=%s by_uid=%d by_pid=%d command=%s", sandbox_id,
		  (int)by->uid, (int)by->pid, quoted);
}

void audit_order(const char *verb, const char *template_name, uint32_t count, const struct peer *by)
{
	_cleanup_free_ char *quoted = quote(template_name);

	log_audit(NULL, "audit %s template=%s count=%u by_uid=%d by_pid=%d", verb, quoted, count,
		  (int)by->uid, (int)by->pid);
}

void audit_refuse(const struct peer *peer, const char *reason, unsigned more)
{
	_cleanup_free_ char *quoted = quote(reason);

	log_audit(NULL, "audit refuse uid=%d gid=%d pid=%d reason=%s more=%u", (int)peer->uid,
		  (int)peer->gid, (int)peer->pid, quoted, more);
}

void audit_reload(const char *reason)
{
	_cleanup_free_ char *quoted = quote(reason);

	log_audit(NULL, "audit reload reason=%s", quoted);
}
