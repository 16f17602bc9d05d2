/* What the machines of all pools together may take of the host: their number (max_vms) and its
 * memory (min_free_mib, compared with MemAvailable of /proc/meminfo); and whose turn it is to
 * make one: claims come before refills, whichever pool they are of. A machine that is booted for
 * a claim has a size of the claim's choice, and bounds of its own. Spares (factory/pool/pool.h) are
 * no machines here: they go where their room is needed. One object a factory.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"
#include "factory/store/size.h"

struct pool;
LIST_HEAD(room_pool_list, pool);

struct host_room {
	uint64_t max_vms;
	uint64_t min_free_mib; /* 0: memory is not looked at */
	uint64_t max_boots;    /* at once; 0: none at all */
	struct room_pool_list pools;

	/* Counted by the functions below, and by nobody else. */
	uint64_t vms;     /* of all pools, but for spares and those that are ending */
	uint64_t spares;  /* of all pools; with vms never more than max_vms */
	uint64_t coming;  /* machines that are being made, of vms */
	uint64_t boots;   /* those that are booted, of vms */
	unsigned lacking; /* pools whose claims wait for one to be begun */

	struct vm_size max_size; /* of what a claim asks for; 0: the host's */
	/* MiB that are available, or a negative errno; NULL: asks /proc/meminfo. */
	int64_t (*available_mib)(void);
	struct vm_size (*host_size)(void); /* NULL: asks the host */
};

/* What one machine takes up. */
enum room_use {
	ROOM_NONE,   /* not begun yet, or on its way out */
	ROOM_SPARE,  /* goes where its room is needed */
	ROOM_COMING, /* is being made */
	ROOM_BOOT,   /* is booted for a claim */
	ROOM_VM,
};
void host_room_change(struct host_room *room, enum room_use from, enum room_use to);

/* A pool tells that its claims begin, or cease, to lack a machine. True: no pool's claims lack one
 * any more. */
bool host_room_lack(struct host_room *room, bool lacking);

/* Whether a machine of this size may be claimed at all: -EINVAL, it is larger than max_size (or
 * the host). */
_must_check_ int host_room_check_size(const struct host_room *room, const struct vm_size *size,
				      struct error *err);

/* Whether one of this size may be booted now. -EINVAL: never on this host. -EAGAIN: not now. */
_must_check_ int host_room_check_boot(const struct host_room *room, const struct vm_size *size,
				      const char **ret_reason, struct error *err);

/* Whether `count` more machines may be begun. -EAGAIN with the sentence for the claimer;
 * ret_reason (static) is the short one for counters: "max_vms" or "min_free_mib". */
_must_check_ int host_room_check(const struct host_room *room, unsigned count,
				 const char **ret_reason, struct error *err);
