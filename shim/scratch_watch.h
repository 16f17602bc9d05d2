/* Tells the guest what the host still has for its scratch disk, so that a container hears ENOSPC
 * when it writes, and not EIO when it is too late (agent/scratch_room.h).
 *
 * The file system of the machine's scratch folder is looked at from time to time: each 5 s where
 * there is plenty, ten times a second near its end, by what could be written meanwhile at
 * SCRATCH_WATCH_SPEED. As long as the disk cannot outgrow the host, which is the usual case, the
 * guest is told nothing and is not woken.
 *
 * All machines of the host see the same figure and may use all of it: what they can write together
 * before they are told of each other is what the margin is for. Why not a share for each, or room
 * set aside (fallocate) before it is granted, as thin pools do? A share would make `df` and ENOSPC
 * lie for those who write while the others do not. And blocks set aside are of no use to a file
 * that grows where its guest likes, they would take from the host what nobody may ever write, and
 * one grant would have to last for what a container writes until the next: hundreds of MiB for
 * each.
 *
 * What this cannot prevent: somebody else on the host filling the last of the margin faster than
 * guests write back, and a guest whose kernel has been taken over. Both end in EIO where the host
 * has no room; a file system of its own for the scratch folder rules out the first.
 */
#pragma once

#include <stdint.h>

#include "shim/agent_link.h"

/* Of the file system a fiftieth is not given out, within these bounds. */
#define SCRATCH_WATCH_MARGIN_MIN ((uint64_t)64 << 20)
#define SCRATCH_WATCH_MARGIN_MAX ((uint64_t)1 << 30)

#define SCRATCH_WATCH_SPEED ((uint64_t)2 << 30) /* bytes a second, by all machines together */

struct scratch_watch;

struct scratch_watch_options {
	struct loop *loop;
	struct agent_link *agent; /* borrowed until scratch_watch_free() */
	const char *sandbox_id;   /* copied */
	const char *dir;          /* the scratch folder; copied */
	uint64_t disk_bytes;      /* what the guest takes its disk for */
};

/* Looks for the first time from within this call. The folder is opened once: that somebody moves or
 * removes it later does not matter, for the disk's file has no name. Where it cannot be opened that
 * is logged, and NULL is returned. */
struct scratch_watch *scratch_watch_new(const struct scratch_watch_options *options);
/* NULL does nothing. */
void scratch_watch_free(struct scratch_watch *watch);

/* What machines may still write to a file system with so many bytes free for them. */
uint64_t scratch_watch_room(uint64_t size, uint64_t free);
/* When to look again, in milliseconds. */
uint64_t scratch_watch_interval(uint64_t room);
