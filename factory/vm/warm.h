/* Warming: what a fresh guest goes through before it may be frozen (baking) or parked (clones).
 *
 *   a clone:     check -> rehearsal (a whole sandbox with one throwaway container)
 *                -> reseed -> clock -> hardware address of the network card
 *   a spare:     check -> a sandbox without a container -> reseed -> clock -> hardware address;
 *                all that a clone does follows when it is used
 *   a template:  check -> reseed -> clock -> hardware address -> rehearsal -> trim
 *                -> rehearsal once more
 *
 * Each step is one call to the agent with a deadline of its own; the first failure ends the
 * sequence, and its error names the step. A guest that cannot be reseeded shares its random
 * pool with every other clone: that failure is -ENOTRECOVERABLE, and such a guest must never
 * be served. The rehearsal runs a container of factory/vm/rehearsal.h and leaves the agent ready
 * for the one real CreateSandbox, with the share mounted already.
 *
 * A template is rehearsed after it was trimmed, too: the caches that a container's start fills
 * are then in the memory that all clones share, instead of being filled in each of them.
 */
#pragma once

#include "base/loop.h"
#include "factory/vm/rehearsal.h"
#include "proto/ttrpc_client.h"

struct warm;

enum warm_purpose {
	WARM_CLONE,
	WARM_SPARE,
	WARM_TEMPLATE,
	WARM_PROBE, /* only ask whether the agent answers, change nothing */
};

struct warm_options {
	enum warm_purpose purpose;
	struct loop *loop;
	struct ttrpc_client *agent; /* borrowed; must be freed after the warm */
	const char *object;         /* id of the machine or template, for the log; copied */
	const char *share_dir;      /* to rehearse with the shares, as claimers do; copied. NULL:
				     * without them, as in a bake */
	struct jailer *jailer;      /* makes what is in the share; NULL: this process is root */
	enum rehearsal_image image;
	unsigned network_cards;    /* factory/guest/network_cards.h */
	unsigned patience;         /* how many times as long as usual a step may take; 0: once */
	uint64_t first_timeout_ms; /* for the agent's first answer; 0: as the other steps. A
				    * guest that still boots answers as soon as it is up. */
	/* The agent has answered for the first time: its version. May be NULL. */
	void (*on_answer)(struct warm *warm, const char *agent_version, void *userdata);
	/* The guest is about to be trimmed. May be NULL. */
	void (*on_trim)(struct warm *warm, void *userdata);
	/* Once, never inside warm_start(). number 0 or a negative errno, then with err. */
	void (*on_done)(struct warm *warm, int number, const struct error *err, void *userdata);
	void *userdata;
};

struct warm *warm_start(const struct warm_options *options);

/* Stops where it is; no callback follows. Allowed at any time, also inside a callback of its
 * own. NULL does nothing. */
void warm_free(struct warm *warm);
DEFINE_CLEANUP(struct warm *, warm_free)
