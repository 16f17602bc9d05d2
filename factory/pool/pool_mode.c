#include "factory/pool/pool_mode.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "factory/pool/pool_make.h"
#include "factory/pool/pool_priv.h"

static const char *const pool_mode_names[] = {
	[POOL_RUNNING] = "running",
	[POOL_PAUSED] = "paused",
	[POOL_DRAINED] = "drained",
};
DEFINE_STRING_TABLE(pool_mode, enum pool_mode, pool_mode_names)

struct pool_waiter {
	unsigned parked; /* until so many are parked; 0: until none is */
	pool_done_fn fn;
	void *userdata;
	TAILQ_ENTRY(pool_waiter) link;
};

void pool_keep_word(struct pool *pool)
{
	_cleanup_(error_done) struct error err = {};
	const struct pool_word word = { .mode = (int)pool->mode, .warm = pool->warm };

	if (!pool->options.word || pool->stopping ||
	    (word.mode == pool->kept.mode && word.warm == pool->kept.warm))
		return;
	pool->kept = word; /* also where it fails: said once */
	if (pool_word_save(pool->options.word, &word, &err) < 0)
		log_error(pool->options.name, "what was asked of the pool is not kept: %s",
			  error_message(&err));
}

/* ---------------------------------------------------------------- who waits */

static void waiter_add(struct pool *pool, unsigned parked, pool_done_fn fn, void *userdata)
{
	struct pool_waiter *waiter = xnew(struct pool_waiter);

	*waiter = (struct pool_waiter){ .parked = parked, .fn = fn, .userdata = userdata };
	TAILQ_INSERT_TAIL(&pool->waiters, waiter, link);
	pool_changed(pool);
}

static void waiter_answer(struct pool *pool, struct pool_waiter *waiter, int number,
			  const struct error *err)
{
	TAILQ_REMOVE(&pool->waiters, waiter, link);
	waiter->fn(number, err, waiter->userdata);
	free(waiter);
}

/* 1: goes on waiting. */
static int waiter_result(const struct pool *pool, const struct pool_waiter *waiter,
			 struct error *err)
{
	unsigned goal = pool_goal(pool);
	unsigned parked = members_count(pool, MEMBER_PARKED);
	const char *obstacle = pool_obstacle(pool);

	if (waiter->parked == 0)
		return !members_first(pool, MEMBER_PARKED) && !members_first(pool, MEMBER_ENDING)
			       ? 0
			       : 1;
	/* Fewer where some were claimed since. */
	if (parked >= (waiter->parked < goal ? waiter->parked : goal))
		return 0;
	return obstacle ? error_set(err, EAGAIN, "the pool cannot be warmed: %s", obstacle) : 1;
}

void waiters_check(struct pool *pool)
{
	struct pool_waiter *waiter, *next;

	TAILQ_FOREACH_SAFE (waiter, &pool->waiters, link, next) {
		_cleanup_(error_done) struct error err = {};
		int r = waiter_result(pool, waiter, &err);
		if (r <= 0)
			waiter_answer(pool, waiter, r, &err);
	}
}

void waiters_fail(struct pool *pool, int number, const char *reason)
{
	_cleanup_(error_done) struct error err = {};
	struct pool_waiter *waiter, *next;

	int r = error_set(&err, number, "%s", reason);
	TAILQ_FOREACH_SAFE (waiter, &pool->waiters, link, next)
		waiter_answer(pool, waiter, r, &err);
}

/* ---------------------------------------------------------------- modes */

static void pool_set_mode(struct pool *pool, enum pool_mode mode)
{
	if (pool->mode == mode)
		return;
	log_info(pool->options.name, "the pool is %s", pool_mode_to_string(mode));
	pool->mode = mode;
	pool_keep_word(pool); /* before anybody is told that it was done */
	pool->filling = true;
	waiters_fail(pool, ECANCELED,
		     mode == POOL_RUNNING  ? "the pool was resumed"
		     : mode == POOL_PAUSED ? "the pool was paused"
					   : "the pool was drained");
	pool_changed(pool);
	pool_serve(pool);
}

void pool_pause(struct pool *pool)
{
	if (pool->mode == POOL_RUNNING)
		pool_set_mode(pool, POOL_PAUSED);
}

void pool_resume(struct pool *pool)
{
	pool_set_mode(pool, POOL_RUNNING);
}

void pool_drain(struct pool *pool, pool_done_fn fn, void *userdata)
{
	struct pool_member *member, *next;
	unsigned waiting = tickets_count(pool);
	unsigned place = 0;

	pool->warm = 0;
	pool_set_mode(pool, POOL_DRAINED);
	TAILQ_FOREACH_SAFE (member, &pool->members[MEMBER_PARKED], link, next)
		member_end_parked(member, "drained");
	members_end(pool, MEMBER_SPARE, "the pool is drained");
	/* What claims wait for goes on. */
	TAILQ_FOREACH_SAFE (member, &pool->members[MEMBER_COMING], link, next) {
		if (place++ >= waiting)
			member_end(member, "the pool is drained");
	}
	waiter_add(pool, 0, fn, userdata);
}

enum pool_mode pool_mode(const struct pool *pool)
{
	return pool->mode;
}

const char *pool_obstacle(const struct pool *pool)
{
	if (!pool->manifest)
		return "its template is not ready";
	if (pool->mode == POOL_PAUSED)
		return "it is paused";
	if (pool->mode == POOL_DRAINED)
		return "it is drained";
	if (pool->failure)
		return pool->failure;
	if (str_equal(pool->held, "max_vms"))
		return "the host has its most machines (max_vms)";
	return pool->held ? "the host is short of memory (min_free_mib)" : NULL;
}

const char *pool_roll_obstacle(const struct pool *pool)
{
	/* A clone that fails once is tried again in a moment. */
	if (pool->mode == POOL_PAUSED || pool_is_broken(pool))
		return pool_obstacle(pool);
	/* The last one that is parked does not go before its successor comes. */
	return pool->held && members_count(pool, MEMBER_PARKED) == 1 ? pool_obstacle(pool) : NULL;
}

const char *pool_shortfall(const struct pool *pool, unsigned count)
{
	unsigned coming = members_count(pool, MEMBER_COMING);
	unsigned claimed = tickets_count(pool);
	unsigned expected = members_count(pool, MEMBER_PARKED) +
			    (coming > claimed ? coming - claimed : 0);

	return expected < count ? pool_obstacle(pool) : NULL;
}

/* ---------------------------------------------------------------- warming */

static int warm_check(const struct pool *pool, unsigned count, struct error *err)
{
	unsigned ready = members_count(pool, MEMBER_PARKED) + members_count(pool, MEMBER_COMING);
	const char *obstacle = pool_obstacle(pool);
	const char *counted = NULL;

	if (obstacle)
		return error_set(err, EBUSY, "the pool of %s cannot be warmed: %s",
				 pool->options.name, obstacle);
	if (count <= ready)
		return 0;
	return host_room_check(pool->options.room, count - ready, &counted, err);
}

int pool_warm(struct pool *pool, unsigned count, pool_done_fn fn, void *userdata, struct error *err)
{
	if (count == 0)
		return error_set(err, EINVAL, "warming needs a number of machines, 1 or more");
	int r = warm_check(pool, count, err);
	if (r < 0)
		return r;
	if (count > pool->warm)
		pool->warm = count;
	waiter_add(pool, count, fn, userdata);
	pool_serve(pool);
	return 0;
}
