#include "factory/bake/bake_queue.h"

#include <stdlib.h>

#include "base/memory.h"

TAILQ_HEAD(turn_list, bake_turn);

struct bake_queue {
	struct loop *loop;
	struct turn_list waiting;
	bool taken; /* somebody bakes */
	bool giving;
	bool freed;
};

static void queue_give(void *userdata)
{
	struct bake_queue *queue = userdata;
	struct bake_turn *turn = TAILQ_FIRST(&queue->waiting);

	queue->giving = false;
	if (queue->freed) {
		free(queue);
		return;
	}
	if (!turn || queue->taken)
		return;
	TAILQ_REMOVE(&queue->waiting, turn, link);
	turn->state = TURN_TAKEN;
	queue->taken = true;
	turn->fn(turn->userdata);
}

static void queue_give_soon(struct bake_queue *queue)
{
	if (queue->giving)
		return;
	queue->giving = true;
	loop_defer(queue->loop, queue_give, queue);
}

struct bake_queue *bake_queue_new(struct loop *loop)
{
	struct bake_queue *queue = xnew(struct bake_queue);

	queue->loop = loop;
	TAILQ_INIT(&queue->waiting);
	return queue;
}

void bake_queue_free(struct bake_queue *queue)
{
	if (!queue)
		return;
	queue->freed = true;
	if (!queue->giving)
		free(queue);
}

void bake_queue_enter(struct bake_queue *queue, struct bake_turn *turn)
{
	turn->state = TURN_WAITING;
	TAILQ_INSERT_TAIL(&queue->waiting, turn, link);
	queue_give_soon(queue);
}

void bake_queue_leave(struct bake_queue *queue, struct bake_turn *turn)
{
	if (turn->state == TURN_WAITING)
		TAILQ_REMOVE(&queue->waiting, turn, link);
	if (turn->state == TURN_TAKEN) {
		queue->taken = false;
		queue_give_soon(queue);
	}
	turn->state = TURN_OUT;
}
