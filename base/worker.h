/* Threads for calls that block (libvirt, hashing, fsync): bounded in number and in queue.
 *
 * A job runs on a worker thread and touches nothing but its own data; its completion runs on
 * the loop's thread. Results find their object by id, looked up again, for the object may be
 * gone by then. */
#pragma once

#include "base/loop.h"

struct worker_pool;

struct worker_job {
	void (*run)(void *data);               /* on a worker thread */
	void (*done)(void *data, void *owner); /* on the loop; frees data. Always called once. */
	void *data;
	void *owner; /* what done needs to look things up: the pool's own program object */
};

/* For a program that starts: ends it where there is no descriptor for it. */
struct worker_pool *worker_pool_new(struct loop *loop, unsigned threads, unsigned queue_max);
/* For one that is at work: -EMFILE. */
_must_check_ int worker_pool_start(struct loop *loop, unsigned threads, unsigned queue_max,
				   struct worker_pool **ret_pool, struct error *err);

/* Waits for every job, queued ones included, and runs their completions before it returns. */
void worker_pool_free(struct worker_pool *pool);
DEFINE_CLEANUP(struct worker_pool *, worker_pool_free)

/* -EAGAIN where the queue is full; done is not called then. */
_must_check_ int worker_submit(struct worker_pool *pool, const struct worker_job *job);
