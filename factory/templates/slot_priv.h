/* The slot's own body: its life is slot.c, what it has for claims is slot_offer.c. Only these
 * include it. */
#pragma once

#include "base/waiters.h"
#include "factory/bake/bake_link.h"
#include "factory/templates/input_watch.h"
#include "factory/templates/slot.h"

/* After a rebuild there are other templates of this name, in the store or with machines in the
 * pool:
 *
 *   state      what it is                                       leaves by
 *   SETTLED    there are none                                   a rebuild that succeeded
 *   REPLACING  the pool replaces the machines of the old        none is left: CLEANING; the
 *              template; another rebuild may begin where        slot's end: SETTLED
 *              it cannot (pool_roll_obstacle())
 *   CLEANING   a worker removes the old templates' files        done: SETTLED, or REPLACING where
 *                                                               another rebuild has succeeded
 */
enum roll_state { ROLL_SETTLED, ROLL_REPLACING, ROLL_CLEANING };

enum roll_next { NEXT_NOTHING, NEXT_REBUILD, NEXT_REMOVE };

struct slot {
	struct slot_options options;
	char *name, *definition_path, *word_path;
	struct template_definition *definition; /* of the template, or of the next bake */
	enum slot_state state;
	struct template_manifest *manifest; /* while READY */
	struct error broken;
	struct input_watch *watch; /* watches while READY */

	/* A bake, while BAKING, and while READY for a rebuild. */
	struct bake_turn turn;
	bool bake_anew; /* even if no input changed */
	struct bake_link *bake;
	enum bake_phase phase;
	struct template_definition *bake_definition;
	char *console; /* of a bake that failed; owned */

	enum roll_state roll;
	enum roll_next next; /* in CLEANING and REPLACING: what has been asked for meanwhile */
	char *rebuild_error;
	struct template_inputs tried; /* what the last bake began with */

	struct pool *pool;
	struct metrics metrics;
	uint64_t bake_begun_ns;
	struct waiters init_waiters; /* for READY and a full pool */
	struct waiters rebuild_waiters;
	struct waiters end_waiters; /* for ABSENT, or for a stopped pool */
	bool stopping;              /* the template stays */
};

static inline bool slot_ending(const struct slot *slot)
{
	return slot->stopping || !waiters_empty(&slot->end_waiters);
}
