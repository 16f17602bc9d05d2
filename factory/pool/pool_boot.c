#include "factory/pool/pool_boot.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "factory/pool/pool_priv.h"
#include "factory/pool/pool_spare.h"

int boot_start(struct pool_ticket *ticket, const struct vm_size *size, struct error *err)
{
	struct pool *pool = ticket->pool;
	struct pool_member *member = member_new(pool);
	struct vm_options options = member_vm_options(member, pool->manifest);

	options.boot = size;
	spares_make_way(pool->options.room);
	int r = vm_start(&options, &member->vm, err);
	if (r < 0) {
		free(member);
		return r;
	}
	log_warning(ticket->sandbox_id,
		    "no template fits: booting a machine of %u vCPUs and %u MiB from the files of "
		    "template %s",
		    size->vcpus, size->memory_mib, pool->options.name);
	ticket->origin = CLAIM_BOOTED;
	ticket->reason = "no template fits";
	ticket->member = member;
	member->ticket = ticket;
	member->cloned_ns = pool_now_ns(pool);
	member_set_state(member, MEMBER_BOOTING);
	return 0;
}

void boot_failed(struct pool_member *member, const struct error *why)
{
	_cleanup_(error_done) struct error err = {};

	(void)error_set(&err, why->number,
			"no template fits, and the machine booted instead failed: %s",
			error_message(why));
	ticket_fail(steal_ptr(member->ticket), "boot failed", &err);
}

void boot_cancel(struct pool_member *member)
{
	_cleanup_(error_done) struct error err = {};

	(void)error_set(&err, ECANCELED, "its claimer went away");
	ticket_fail(steal_ptr(member->ticket), "", &err);
	member_end(member, "its claimer went away");
}

void boots_fail(struct pool *pool, int number, const char *counted, const char *why)
{
	_cleanup_(error_done) struct error err = {};
	struct pool_member *member;

	(void)error_set(&err, number, "no machine for the sandbox: %s", why);
	TAILQ_FOREACH (member, &pool->members[MEMBER_BOOTING], link) {
		ticket_fail(steal_ptr(member->ticket), counted, &err);
	}
}
