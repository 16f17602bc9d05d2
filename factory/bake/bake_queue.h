/* Bakes take their turns: one boots while the others wait, for a boot takes a processor and the
 * memory of a whole guest.
 *
 * A turn is part of the object that waits for it, and is given by calling fn, never from within
 * bake_queue_enter().
 */
#pragma once

#include <stdbool.h>

#include "base/list.h"
#include "base/loop.h"

struct bake_queue;

struct bake_turn {
	void (*fn)(void *userdata);
	void *userdata;
	/* the queue's own: */
	enum { TURN_OUT, TURN_WAITING, TURN_TAKEN } state;
	TAILQ_ENTRY(bake_turn) link;
};

struct bake_queue *bake_queue_new(struct loop *loop);
void bake_queue_free(struct bake_queue *queue); /* turns still waiting are forgotten */

void bake_queue_enter(struct bake_queue *queue, struct bake_turn *turn);
/* At the end of the turn, or before it came; without effect where neither is so. */
void bake_queue_leave(struct bake_queue *queue, struct bake_turn *turn);
